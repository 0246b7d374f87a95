"""What is read of each subject of the corpus, and what the result must be: parts by name, as digests.

A part depends on certain files; where none of them is damaged it must be what it was. The files of tensors are read by an
independent library too, where that reads them, and must give the same.
"""

import hashlib
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from llmos.api.assemble import rope_tables
from llmos.api.limits import check_memory, check_numbers, chosen_context
from llmos.api.prepare import Source, choose_options, demand, open_source, open_tokenizer, planned_graph
from llmos.core.errors import UserError
from llmos.models import parameter_count, spec_from_config
from llmos.text import PromptFormat, Tokenizer, check_templates, render_chat
from llmos.text.gguf import prompt_format_of_gguf
from llmos.weights import GgufFile, QuantizedTensor
from tests.fuzz.damage import damaged
from tests.fuzz.zip_damage import sealed_damaged

__all__ = ["GROUPS", "PROBES", "SUBJECTS", "Parts", "Subject"]

Parts = dict[str, str]
TEXTS = ("", "the fox's  12345 is\n\n über 日本語 <s> [INST] \U0001f999\0 aab abc", "ab" * 300 + " " * 300)
_FREE_BYTES = 256 << 20  # what a model may ask for here
_MESSAGES = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "yes"},
    {"role": "user", "content": "and?"},
]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """read: opens what lies in the folder, as far as compiling, given the name of the damaged file.

    damage: gives the damaged file; files: folder of the corpus, where it is not that of the subject's own name; same: what is read
    is what it was, whatever the damage; weight: how often it is taken, relative to the others.
    """

    read: Callable[[Path, str], Parts]
    damage: Callable[[random.Random, str, bytes], bytes] = damaged
    files: str = ""
    same: bool = False
    weight: int = 1

    def untouched(self, part: str, name: str) -> bool:
        """Whether a part does not depend on the damaged file."""
        of_text = PurePath(name).name in _OF_TEXT
        return (
            self.same
            or (part.startswith("weights") and of_text)
            or (part.startswith("text") and ".safetensors" in name)
        )


_OF_TEXT = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "tokenizer.bin")


def digest(*values: Any) -> str:
    whole = hashlib.sha256()
    for value in values:
        whole.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode("utf-8", "surrogatepass"))
    return whole.hexdigest()[:16]


def _model(source: Source) -> Parts:
    """Everything that `prepare` does but for the compiler: graph, tokenizer, memory, every weight once."""
    reach = chosen_context(source.spec, None)
    options = choose_options(source, None, None)
    graph = planned_graph(source, options)
    tokenizer = open_tokenizer(source)
    check_memory(demand(source, graph, context=reach, batch=1, threads=1), _FREE_BYTES)
    rope_tables(source.spec, reach)
    parts = _tokens(tokenizer) if tokenizer else {}
    if source.bundle is not None:
        weights = bytearray(source.bundle.weights_bytes)
        source.bundle.read_weights_into(memoryview(weights))
        return parts | {"weights": digest(weights)}
    assert source.parameters is not None
    return parts | {f"weights:{name}": _tensor(source.parameters[name]) for name in source.parameters}


def _tensor(tensor: Any) -> str:
    values = tensor.float32()
    assert values.dtype == np.float32 and values.shape == tensor.shape
    if isinstance(tensor, QuantizedTensor) and tensor.keeps is not None:
        groups = tensor.groups()
        return digest(tensor.shape, values, groups.codes, groups.scales)
    return digest(tensor.shape, values)


def _tokens(tokenizer: Tokenizer) -> Parts:
    """Ids of texts, the text of the ids, a conversation rendered. Whatever is damaged, ids are in range and texts are texts."""
    parts = {}
    for i, text in enumerate(TEXTS):
        ids = tokenizer.encode(text)
        assert all(type(id) is int and 0 <= id < 2**32 for id in ids), ids
        back = tokenizer.decode(ids)
        back.encode()
        parts[f"text:{i}"] = digest(ids, back)
    return parts | _conversation(tokenizer.format)


def _conversation(format: PromptFormat) -> Parts:
    check_templates(format, "x")
    if format.chat_template is None:
        return {}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    try:
        text = render_chat(format, _MESSAGES)
        render_chat(format, _MESSAGES, tools=[tool])
    except UserError as error:  # a conversation that a template refuses is no damage of the model
        return {"text:chat": digest(str(error))}
    text.encode("utf-8", "surrogatepass")
    return {"text:chat": digest(text)}


def _folder(folder: Path, name: str) -> Parts:
    parts = _model(open_source(str(folder)))
    for path in folder.glob("*.safetensors"):
        _as_safetensors_reads(path)
    return parts


def _as_safetensors_reads(path: Path) -> None:
    """The tensors that the safetensors library finds in a file are ours."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from llmos.weights.safetensors import SafetensorsFile

    try:
        theirs = load_file(path)
    except (SafetensorError, TypeError, ValueError, KeyError):
        return
    ours = SafetensorsFile(path)
    assert set(ours.names()) == set(theirs)
    for name, values in theirs.items():
        assert ours.tensor(name).data.shape == values.shape and ours.tensor(name).data.tobytes() == values.tobytes()


def _adapter(folder: Path, name: str) -> Parts:
    return _model(open_source(str(folder / "adapter")))


def _file(file: str) -> Callable[[Path, str], Parts]:
    return lambda folder, _: _model(open_source(str(folder / file)))


def _gguf(folder: Path, name: str) -> Parts:
    path = folder / name
    file = GgufFile(path)
    parts = {f"tensor:{each}": _tensor(file.tensor(each)) for each in file.names()}
    _as_gguf_reads(path, file)
    format = prompt_format_of_gguf(file.metadata, path)
    return parts | (_tokens(Tokenizer(format, str(path))) if format else {})


def _as_gguf_reads(path: Path, file: GgufFile) -> None:
    """The tensors that the gguf package finds in a file have our values, bit for bit where they are finite."""
    import gguf

    try:
        with np.errstate(all="ignore"):
            reader = gguf.GGUFReader(path)
            theirs = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in reader.tensors if len(t.shape) < 3}
    except Exception:  # whatever it fails with: it checks little
        return
    for name, values in theirs.items():
        with np.errstate(all="ignore"):
            ours = file.tensor(name).float32()
        assert np.array_equal(ours.ravel(), np.asarray(values, np.float32).ravel(), equal_nan=True), name


def _configs(folder: Path, name: str) -> Parts:
    path = folder / name
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(str(error)) from error  # `_read_config` is tested with the folders
    if not isinstance(raw, dict):
        return {}
    check_numbers(raw, path)
    spec = spec_from_config(raw)
    return {"count": digest(parameter_count(spec), spec)}


def _templates(folder: Path, name: str) -> Parts:
    try:
        source = (folder / name).read_text("utf-8")
    except UnicodeDecodeError:
        return {}
    return _conversation(PromptFormat(tokenizer="", chat_template=source, special={"bos_token": "<s>"}))


def _text(folder: Path, name: str) -> Parts:
    place = (folder / name).parent
    return _tokens(Tokenizer(PromptFormat.load(place), str(place)))


SUBJECTS = {
    "folder": Subject(read=_folder, weight=4),
    "shards": Subject(read=_folder, weight=2),
    "loose": Subject(read=_folder),
    "llama2c": Subject(read=_file("x.bin"), weight=2),
    "gptq": Subject(read=_folder),
    "awq": Subject(read=_folder),
    "compressed": Subject(read=_folder),
    "adapter": Subject(read=_adapter, weight=2),
    "configs": Subject(read=_configs, weight=3),
    "templates": Subject(read=_templates, weight=3),
    "unigram": Subject(read=_text, weight=2),
    "pieces": Subject(read=_text, weight=2),
    "vocabularies": Subject(read=_text, weight=2),
    "tokenizers": Subject(read=_text, weight=3),
    "gguf": Subject(read=_gguf, weight=4),
    "gguf-model": Subject(read=_file("x.gguf"), weight=3),
    "encoder": Subject(read=_folder, weight=2),
    "bundle": Subject(read=_file("x.llm"), weight=3, same=True),
    "sealed": Subject(read=_file("x.llm"), files="bundle", damage=sealed_damaged, weight=2),
}

# What `make fuzz` runs together: readers that share code.
GROUPS = {
    "weights": ("folder", "shards", "loose", "llama2c", "adapter"),
    "quantised": ("gptq", "awq", "compressed"),
    "gguf": ("gguf", "gguf-model"),
    "text": ("unigram", "pieces", "vocabularies", "tokenizers", "encoder"),
    "templates": ("templates",),
    "configs": ("configs",),
    "bundles": ("bundle", "sealed"),
}


def _probe(bad: Callable[[], object]) -> Callable[[Path, str], Parts]:
    """Does what no reader may do where its file is damaged."""

    def read(folder: Path, name: str) -> Parts:
        data = (folder / name).read_bytes()
        if data != b"undamaged":
            bad()
        return {"bytes": digest(data)}

    return read


def _spin() -> None:
    while True:
        pass


# For the test of the test.
PROBES = {
    "dies": Subject(read=_probe(os.abort), files="probe"),
    "spins": Subject(read=_probe(_spin), files="probe"),
    "swells": Subject(read=_probe(lambda: bytearray(2 << 30)), files="probe"),
    "changes": Subject(read=_probe(lambda: None), files="probe", same=True),
}
