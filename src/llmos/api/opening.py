"""From a name to an opened model: one way for each kind of file that a model may be."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmos.api.adapters import NamedAdapter, adapt, adapt_stored, base_of, named_adapters, text_folder
from llmos.api.embedding_settings import EmbeddingSettings, embedding_files, read_embedding_settings
from llmos.api.file_states import file_states
from llmos.api.gguf import open_gguf
from llmos.api.limits import check_generation, check_numbers
from llmos.api.options import named_options
from llmos.api.purpose import check_purpose
from llmos.api.quantization import open_weights, split_config
from llmos.api.source import Source
from llmos.artifact import Bundle, open_bundle
from llmos.core.errors import FormatError, UserError
from llmos.core.files import read_object
from llmos.hub import Resolved, resolve
from llmos.models import Spec, spec_from_config
from llmos.text import PromptFormat, Tokenizer, check_templates, lowered, tokenizer_files
from llmos.weights import Llama2cFile
from llmos.weights.quantization import QuantizedCheckpoint

__all__ = ["open_source", "open_tokenizer"]

_CONFIGS = ("config.json", "generation_config.json")


def open_source(name: str, adapters: Sequence[str] = (), progress: Callable[[str], None] | None = None) -> Source:
    """Resolve a name and those of adapters, and open what they lead to. The name of an adapter alone leads to its base too."""
    report = (
        (lambda file, done, total: progress(f"downloading {file} {100 * done // max(total, 1)} %"))
        if progress
        else None
    )
    resolved = resolve(name, progress=report)
    base = base_of(resolved, adapters, report)
    if base is not None:
        resolved, adapters = replace(base, display=name), (str(resolved.path), *adapters)
    states = file_states(resolved.path)
    return replace(_opened(resolved, named_adapters(adapters, report)), states=states)


def _opened(resolved: Resolved, adapters: Sequence[NamedAdapter]) -> Source:
    if resolved.kind == "bundle":
        if adapters:
            name = resolved.display
            raise UserError(f"{name} is compiled already: give --adapter when it is compiled from its source")
        return _open_bundle(resolved)
    if resolved.kind == "gguf":
        return _open_gguf(resolved, adapters)
    if resolved.kind == "llama2c":
        return _open_llama2c(resolved, adapters)
    return _open_folder(resolved, adapters)


def open_tokenizer(source: Source) -> Tokenizer | None:
    """The tokenizer of a source, None without one. Raises FormatError where it does not fit the model."""
    if source.prompt_format is None:
        return None
    tokenizer = Tokenizer(source.prompt_format, f"{source.resolved.path}: tokenizer")
    tokenizer.check_vocab(source.spec.vocab)
    check_templates(source.prompt_format, str(source.resolved.path))
    if source.bundle is not None:
        tokenizer.verify_golden(source.bundle.document("golden"), f"{source.resolved.path}: golden.json")
    return tokenizer


def _open_folder(resolved: Resolved, adapters: Sequence[NamedAdapter]) -> Source:
    path = resolved.path / "config.json"
    config, stored = split_config(_read_config(path), path)
    spec = _spec(config, path)
    checkpoint = open_weights(resolved.path, stored)
    check_purpose(config, checkpoint.names(), resolved.path)
    made = adapt(config, spec, checkpoint, adapters)
    text = text_folder(resolved.path, adapters)
    of_tokenizer = tokenizer_files(text)
    read = [*(resolved.path / name for name in _CONFIGS), *of_tokenizer]
    beside = resolved.path / "generation_config.json"
    generation = _read_config(beside) if beside.exists() else {}
    check_generation(generation, beside)
    format, unapplied = PromptFormat.read(text) if of_tokenizer else (None, [])
    embedding = read_embedding_settings(resolved.path)
    if embedding and embedding.lower_case and format:
        format = lowered(format, resolved.path)
    return Source(
        resolved=resolved,
        files=(*filter(Path.exists, read), *embedding_files(resolved.path), *checkpoint.files()),
        config=made.config,
        spec=made.spec,
        prompt_format=format,
        tokenizer_unapplied=tuple(unapplied),
        precision=made.parameters.precision.dtype,
        tables=made.parameters.precision.tables,
        matrices=made.parameters.precision.matrices,
        notices=made.parameters.precision.notices,
        generation=generation,
        embedding=embedding,
        parameters=made.parameters,
        adapters=tuple(adapters),
        stored=", ".join(checkpoint.types()) if isinstance(checkpoint, QuantizedCheckpoint) else None,
    )


def _open_llama2c(resolved: Resolved, adapters: Sequence[NamedAdapter]) -> Source:
    file = Llama2cFile(resolved.path)
    made = adapt(file.config, spec_from_config(file.config), file, adapters)
    beside = [resolved.path.with_name(name) for name in ("tokenizer.bin", f"tok{made.spec.vocab}.bin")]
    found = next((path for path in beside if path.exists()), None)
    return Source(
        resolved=resolved,
        files=(*file.files(), *([found] if found else [])),
        config=made.config,
        spec=made.spec,
        prompt_format=PromptFormat.from_llama2c(found, made.spec.vocab) if found else None,
        precision="float32",
        parameters=made.parameters,
        adapters=tuple(adapters),
    )


def _open_gguf(resolved: Resolved, adapters: Sequence[NamedAdapter]) -> Source:
    opened = open_gguf(resolved.path)
    parameters = adapt_stored(opened.spec, opened.parameters, adapters)
    precision = parameters.precision
    return Source(
        resolved=resolved,
        files=opened.files,
        config=opened.config,
        spec=opened.spec,
        prompt_format=opened.prompt_format,
        precision=precision.dtype,
        tables=precision.tables,
        matrices=precision.matrices,
        notices=precision.notices,
        generation=opened.generation,
        embedding=opened.embedding,
        parameters=parameters,
        adapters=tuple(adapters),
        stored=opened.stored,
    )


def _open_bundle(resolved: Resolved) -> Source:
    bundle, path = open_bundle(resolved.path), resolved.path
    config, format = bundle.document("spec"), bundle.document("prompt_format")
    formats, generation = bundle.manifest["formats"], bundle.manifest.get("generation") or {}
    check_generation(generation, f"{path}: manifest.json: generation")
    try:
        named_options(**formats)
    except UserError as error:
        raise FormatError(path, f"manifest.json: {error}") from error
    return Source(
        resolved=resolved,
        files=(path,),
        config=config,
        spec=_spec(config, f"{path}: spec.json"),
        prompt_format=None if format is None else PromptFormat.from_dict(format, f"{path}: prompt_format.json"),
        precision=formats["weights"],
        generation=generation,
        embedding=_embedding(bundle),
        bundle=bundle,
    )


def _embedding(bundle: Bundle) -> EmbeddingSettings | None:
    stated = bundle.manifest.get("embedding")
    where = f"{bundle.path}: manifest.json: embedding"
    return None if stated is None else EmbeddingSettings.from_dict(stated, where)


def _read_config(path: Path) -> dict[str, Any]:
    return read_object(path, f"{path.parent} is no model in the Hugging Face layout: there is no {path.name}")


def _spec(config: dict[str, Any], where: str | Path) -> Spec:
    check_numbers(config, where)
    try:
        return spec_from_config(config)
    except UserError as error:
        raise FormatError(where, str(error)) from error
