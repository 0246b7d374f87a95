"""The difference that file formats, tokenizers and embeddings make, to references that are independent of LLMOS."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from fidelity_models import error, number

import llm
from llmos.api.gguf import OpenedGguf, open_gguf
from llmos.models import encode, forward, memories
from llmos.ops.numpy_ops import NumpyOps
from llmos.text import Tokenizer
from llmos.text.gguf import prompt_format_of_gguf
from llmos.weights import GgufFile
from tests import embedding_model, gguf_models, tiny_checkpoints
from tests.api import test_quantized_sources as quantised
from tests.gguf_files import KINDS, PLAIN, dequantised, plain, random_rows, write
from tests.tiny_encoders import hidden

__all__ = ["embeddings", "gguf_families", "gguf_types", "quantised_folders", "vocabularies"]

_MOST_ROWS, _COLUMNS = 64, 512


def gguf_types() -> Iterator[list[str]]:
    """A row for each type: blocks against the package's decoding, a model against transformers with the decoded weights."""
    for kind in (*PLAIN, *KINDS):
        case = gguf_models.WIDE["llama"]
        model = case.model()
        path = gguf_models.write_model(Path(tempfile.mkdtemp()) / "x.gguf", case, model, kind)
        by_numpy, by_code, format = _of_file(path, model)
        print(f"GGUF {kind}: {_blocks(kind)} {by_numpy} {format} {by_code}", flush=True)
        yield [kind, number(_blocks(kind)), number(by_numpy), format, number(by_code)]


def gguf_families() -> Iterator[list[str]]:
    for name, case in gguf_models.CASES.items():
        model = case.model()
        path = gguf_models.write_model(Path(tempfile.mkdtemp()) / "x.gguf", case, model)
        by_numpy, by_code, format = _of_file(path, model)
        print(f"GGUF {name}: {by_numpy} {format} {by_code}", flush=True)
        yield [name, case.name, number(by_numpy), format, number(by_code)]
    for name, case in gguf_models.ENCODERS.items():
        yield [f"{name} (hidden rows)", case.name, number(_of_encoder(case)), "", ""]
    for name, case in gguf_models.TRANSLATORS.items():
        yield [name, case.name, number(_of_translator(case)), "", ""]


def quantised_folders() -> Iterator[list[str]]:
    """GPTQ and AWQ: a model against the same one with the values that the published formulas give."""
    kinds = {
        "GPTQ, 4 bits, groups of 32": (quantised.GPTQ, quantised.pack_gptq, True),
        "GPTQ, zero points": (quantised.GPTQ | {"sym": False}, quantised.pack_gptq, False),
        "AWQ, 4 bits, groups of 32": (quantised.AWQ, quantised.pack_awq, False),
    }
    for name, (config, pack, symmetric) in kinds.items():
        folder = Path(tempfile.mkdtemp())
        expected = quantised.quantised(tiny_checkpoints.llama(**quantised.SHAPE), folder, config, pack, symmetric)
        source = quantised.open_source(str(folder))
        w = {n: source.parameters[n].float32().astype(np.float64) for n in source.parameters}
        ids = quantised.IDS
        by_numpy = error(forward(NumpyOps(), source.spec, w, ids, np.arange(len(ids))), expected)
        format, by_code = _compiled(folder, ids, expected)
        print(f"{name}: {by_numpy} {format} {by_code}", flush=True)
        yield [name, number(by_numpy), format, number(by_code)]


def vocabularies(data: Path) -> Iterator[list[str]]:
    """Texts whose ids are those of llama.cpp's vectors, of the vocabularies in the data folder."""
    folder = data / "tokenizers"
    for path in sorted(folder.glob("ggml-vocab-*.gguf")):
        format = prompt_format_of_gguf(GgufFile(path).metadata, path)
        tokenizer = Tokenizer(format)
        vectors = folder / "vectors" / path.name
        texts = vectors.with_suffix(".gguf.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")[:-1]
        lines = vectors.with_suffix(".gguf.out").read_text(encoding="utf-8").splitlines()
        same = sum(
            tokenizer.encode(text, special=False) == [int(id) for id in line.split()]
            for text, line in zip(texts, lines, strict=True)
        )
        yield [path.stem.removeprefix("ggml-vocab-"), f"{same} of {len(texts)}"]


def embeddings() -> Iterator[list[str]]:
    """all-MiniLM-L6-v2 against sentence-transformers."""
    folder = embedding_model.folder()
    expected = embedding_model.reference(folder).encode(embedding_model.TEXTS)
    for format in ("float32", "bf16", "int8"):
        with llm.load_model(folder, weights=format) as model:
            got = model.embed(embedding_model.TEXTS)
        yield [format, number(float(np.abs(got - expected).max()))]


def _blocks(kind: str) -> float:
    """The largest difference of decoded blocks to the package's decoding."""
    if kind in PLAIN:
        stored = plain(kind, np.random.default_rng(0).normal(size=(_MOST_ROWS, _COLUMNS)))
    else:
        stored = random_rows(kind, _MOST_ROWS, _COLUMNS)
    path = write(Path(tempfile.mkdtemp()) / "x.gguf", "llama", {}, {"x": stored})
    ours = GgufFile(path).tensor("x").float32()
    return float(np.abs(ours - dequantised(stored)).max())


def _of_file(path: Path, model: object) -> tuple[float, float, str]:
    """Differences of the definition and of compiled code to the model's logits, and the format that the latter has."""
    opened = open_gguf(path)
    w = _float64(opened)
    ids = np.random.default_rng(1).integers(0, opened.spec.vocab, 17).tolist()
    expected = tiny_checkpoints.logits(model.double(), ids)
    by_numpy = error(forward(NumpyOps(), opened.spec, w, ids, np.arange(len(ids))), expected)
    format, by_code = _compiled(path, ids, expected)
    return by_numpy, by_code, format


def _of_encoder(case: gguf_models.Case) -> float:
    """Difference of the definition's hidden rows; compiled code is that of the family's folder."""
    model = case.model()
    opened = open_gguf(gguf_models.write_model(Path(tempfile.mkdtemp()) / "x.gguf", case, model))
    ids = np.random.default_rng(1).integers(2, opened.spec.vocab, 41).tolist()
    return error(forward(NumpyOps(), opened.spec, _float64(opened), ids, np.arange(41)), hidden(model.double(), ids))


def _of_translator(case: gguf_models.Case) -> float:
    """Difference of the definition's logits of an answer to a source."""
    model, rng = case.model(), np.random.default_rng(1)
    opened = open_gguf(gguf_models.write_model(Path(tempfile.mkdtemp()) / "x.gguf", case, model))
    source, ids = rng.integers(0, opened.spec.vocab, 70), rng.integers(0, opened.spec.vocab, 21)
    ops, spec, w = NumpyOps(), opened.spec, _float64(opened)
    memory = memories(ops, spec, w, encode(ops, spec, w, source, np.arange(len(source))))
    with torch.no_grad():
        given = {"input_ids": torch.from_numpy(source)[None], "decoder_input_ids": torch.from_numpy(ids)[None]}
        expected = model.double()(**given).logits[0].numpy()
    return error(np.asarray(forward(ops, spec, w, ids, np.arange(len(ids)), memory)), expected)


def _float64(opened: OpenedGguf) -> dict[str, np.ndarray]:
    return {name: opened.parameters[name].float32().astype(np.float64) for name in opened.parameters}


def _compiled(path: Path, ids: list[int], expected: np.ndarray) -> tuple[str, float]:
    """Format and largest difference of log-probabilities, over the largest logit, of the model as it loads by default."""
    with llm.load_model(path) as model:
        scores = np.array(model.score(ids)[1:], np.float64)
        format = model.info()["formats"]["weights"]
    shifted = expected - expected.max(-1, keepdims=True)
    logprobs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    wanted = logprobs[np.arange(len(ids) - 1), ids[1:]]
    return format, float(np.abs(scores - wanted).max() / np.abs(expected).max())
