"""From a name to a program that can run: resolve, read, build the graph, compile for this machine, place the weights."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from llmos.api.adapters import NamedAdapter, adapt, base_of, named_adapters, text_folder
from llmos.api.assemble import fill_weights, rope_tables, weights_bytes
from llmos.api.demand import Demand, sizes_of
from llmos.api.embedding_settings import EmbeddingSettings, embedding_files, read_embedding_settings
from llmos.api.gguf import open_gguf
from llmos.api.limits import check_generation, check_memory, check_numbers, chosen_context, chosen_reach
from llmos.api.quantization import open_weights, split_config
from llmos.artifact import Bundle, open_bundle
from llmos.compiler import FORMATS, Graph, Options, build_graph, chosen_target, compile_code, graph_hash, to_dict
from llmos.core.env import environment
from llmos.core.errors import FormatError, UserError
from llmos.core.files import read_file
from llmos.hardware import memory, usable_cores
from llmos.hub import Resolved, resolve
from llmos.models import Spec, parameter_count, spec_from_config
from llmos.native import include_dir, sources_hash
from llmos.plan import Sizes, step_rows
from llmos.runtime import Program, native_packer
from llmos.text import PromptFormat, Tokenizer, check_templates, lowered, tokenizer_files
from llmos.weights import Llama2cFile, Parameters
from llmos.weights.peft import AdaptedParameters

__all__ = ["Prepared", "Source", "check_graph", "choose_options", "demand", "open_source", "open_tokenizer", "prepare"]

_KEEPS = {
    "float32": "float32",
    "bfloat16": "bf16",
    "float16": "float16",
    "int8": "int8",
    "int4": "int4",
    "uint4": "uint4",
}  # checkpoint precision -> format that loses nothing
_CONFIGS = ("config.json", "generation_config.json")


@dataclass(frozen=True, kw_only=True)
class Source:
    """An opened model: what it is and how its weights get into a graph's layout.

    files: those that were read for it; tokenizer_unapplied: what its tokenizer settings ask for and is not done; adapters: what
    is merged into it, in order; tables: the precision of embedding and head where they are not
    quantised and the layers are; notices: what a user should know who leaves the weight format to us; stored: how its tensors
    are stored, where that is more than its precision; embedding: what it says of how it is to embed texts.
    """

    resolved: Resolved
    files: tuple[Path, ...]
    config: dict[str, Any]
    spec: Spec
    prompt_format: PromptFormat | None
    precision: str
    tables: str | None = None
    notices: tuple[str, ...] = ()
    generation: dict[str, Any] = field(default_factory=dict)
    embedding: EmbeddingSettings | None = None
    tokenizer_unapplied: tuple[str, ...] = ()
    parameters: Parameters | AdaptedParameters | None = None
    adapters: tuple[NamedAdapter, ...] = ()
    stored: str | None = None
    bundle: Bundle | None = None

    @property
    def mapped(self) -> tuple[Path, ...]:
        """The files whose pages are mapped while weights are packed; a bundle is read instead."""
        return () if self.parameters is None else tuple(self.parameters.checkpoint.files())

    def fill(self, graph: Graph, library: Path, out: memoryview, progress: Callable[[str], None] | None) -> None:
        """Put the packed weights into `out`. library: the graph's compiled code, which packs them."""
        report = _percent(progress, "reading weights" if self.bundle else "packing weights")
        if self.bundle is not None:
            self.bundle.read_weights_into(out, report, threads=usable_cores())
        else:
            assert self.parameters is not None, "a source has a bundle or parameters"
            fill_weights(graph, self.parameters, out, report, native_packer(library))


class _Filling:
    """Fills the weights once and lets go of the source, whose files would stay mapped as long as the model otherwise."""

    def __init__(self, source: Source, graph: Graph, library: Path, progress: Callable[[str], None] | None):
        self._fill: Callable[[memoryview], None] | None = lambda out: source.fill(graph, library, out, progress)

    def __call__(self, out: memoryview) -> None:
        fill, self._fill = self._fill, None
        assert fill is not None, "a program's weights are filled once"
        fill(out)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What `Model` needs. n_pages: of the pool of keys and values; step_rows: most tokens and output rows of a step.

    info: facts for people and for `llmos info --json`.
    """

    program: Program
    n_pages: int
    step_rows: tuple[int, int]
    spec: Spec
    prompt_format: PromptFormat | None
    tokenizer: Tokenizer | None
    generation: dict[str, Any]
    embedding: EmbeddingSettings | None
    tokenizer_unapplied: tuple[str, ...]
    info: dict[str, Any]
    notices: tuple[str, ...]


def prepare(
    name: str,
    *,
    weights: str | None = None,
    kv: str | None = None,
    context: int | None = None,
    batch: int | None = None,
    threads: int | None = None,
    target: str | None = None,
    adapters: Sequence[str] = (),
    free_bytes: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Prepared:
    """The compiled program of a model. weights: number format, None keeps the checkpoint's precision; context: positions.

    batch: full contexts to make room for, None as many as `plan.pool_pages` says. free_bytes: memory that may be taken, None
    what is free.
    adapters: names of those to merge into it, in order.

    Raises UserError for names, formats and settings that cannot be used, FormatError for damaged files, ResourceError where
    memory is short or there is no compiler.
    """
    source = open_source(name, adapters, progress)
    reach = chosen_context(source.spec, context)
    options = choose_options(source, weights, kv)
    graph = build_graph(source.spec, options)
    if source.bundle is not None:
        check_graph(source.bundle, graph)
    tokenizer = open_tokenizer(source)
    free = memory().available if free_bytes is None else free_bytes
    wanted = demand(source, options, graph, context=reach, batch=batch or 1, threads=threads, given=(weights, kv))
    check_memory(wanted, free)
    chosen = chosen_target(target)
    library = compile_code(graph, chosen, include=include_dir(), kernels_hash=sources_hash(), progress=progress)
    program = Program(
        library=library,
        vocab=source.spec.vocab,
        width=source.spec.width,
        context=reach,
        weights_bytes=weights_bytes(graph),
        fill_weights=_Filling(source, graph, library, progress),
        rope=rope_tables(source.spec, reach),
        whole=source.spec.bidirectional,
    )
    info = _info(source, options, chosen.name, reach, program) | {"graph": graph_hash(graph)}
    return Prepared(
        program=program,
        n_pages=wanted.n_pages(free, batch),
        step_rows=step_rows(wanted.sizes, reach),
        spec=source.spec,
        prompt_format=source.prompt_format,
        tokenizer=tokenizer,
        generation=source.generation,
        embedding=source.embedding,
        tokenizer_unapplied=source.tokenizer_unapplied,
        info=info,
        notices=told(source, weights),
    )


def demand(
    source: Source,
    options: Options,
    graph: Graph,
    *,
    context: int,
    batch: int,
    threads: int | None,
    given: tuple[str | None, str | None] = (None, None),
) -> Demand:
    """What loading a source needs. given: the formats of weights, and of keys and values, as they were asked for."""

    def sizes(graph: Graph) -> Sizes:
        return sizes_of(graph, source.spec, source.mapped, source.precision)

    def others() -> dict[str, Sizes]:
        formats = () if source.bundle is not None else (f for f in FORMATS if f != options.weights)
        return {f: sizes(build_graph(source.spec, choose_options(source, f, given[1]))) for f in formats}

    return Demand(
        name=source.resolved.display,
        sizes=sizes(graph),
        reach=chosen_reach(source.spec),
        context=context,
        batch=batch,
        threads=threads or environment().threads or usable_cores(),
        others=others,
    )


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
    opened = named_adapters(adapters, report)
    if resolved.kind == "bundle":
        if opened:
            raise UserError(f"{name} is compiled already: give --adapter when it is compiled from its source")
        return _open_bundle(resolved)
    if resolved.kind == "gguf":
        return _open_gguf(resolved, opened)
    if resolved.kind == "llama2c":
        return _open_llama2c(resolved, opened)
    return _open_folder(resolved, opened)


def told(source: Source, weights: str | None) -> tuple[str, ...]:
    """What a user should know of the model that was found, and of the weight format where none was asked for."""
    found = () if source.resolved.notice is None else (source.resolved.notice,)
    return found if weights is not None else (*found, *source.notices)


def choose_options(source: Source, weights: str | None, kv: str | None) -> Options:
    """Formats as asked for; by default the checkpoint's own precision, and keys and values in float32 or float16 where
    weights are, else in bf16.
    """
    if source.bundle is not None:
        stored = source.bundle.manifest["formats"]
        for what, wanted in (("weights", weights), ("kv", kv)):
            if wanted is not None and wanted != stored[what]:
                raise UserError(
                    f"{source.bundle.path} was compiled with {what} {stored[what]}, not {wanted}: compile it again from its source"
                )
        return _options(**stored)
    tables = _KEEPS[source.tables] if source.tables and weights is None else None
    weights = weights or _KEEPS[source.precision]
    return _options(weights, kv or (weights if weights in ("float32", "float16") else "bf16"), tables)


def formats_of(options: Options) -> dict[str, str]:
    """The number formats by what they are of; that of tables only where it is one of their own."""
    tables = {} if options.tables in (None, options.weights) else {"tables": str(options.tables)}
    return {"weights": options.weights, "kv": options.kv, **tables}


def _options(weights: str, kv: str, tables: str | None = None) -> Options:
    """The options of names, which are checked there."""
    return Options(weights=cast(Any, weights), kv=cast(Any, kv), tables=cast(Any, tables))


def check_graph(bundle: Bundle, graph: Graph) -> None:
    """The graph is always built here, from the checked spec; the bundle's only has to be the same."""
    same = bundle.manifest["graph"] == graph_hash(graph) and bundle.document("graph") == to_dict(graph)
    if not same or bundle.weights_bytes != weights_bytes(graph):
        raise FormatError(
            bundle.path,
            "holds another graph than this LLMOS builds from its spec: it was changed, or compiled by another version, whose "
            "weights lie elsewhere; compile it again from its source",
        )


def _open_folder(resolved: Resolved, adapters: Sequence[NamedAdapter]) -> Source:
    path = resolved.path / "config.json"
    config, stored = split_config(_read_config(path), path)
    spec = _spec(config, path)
    checkpoint = open_weights(resolved.path, stored)
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
        notices=made.parameters.precision.notices,
        generation=generation,
        embedding=embedding,
        parameters=made.parameters,
        adapters=tuple(adapters),
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
    if adapters:
        raise UserError(
            f"{resolved.path}: adapters are merged into models in the Hugging Face layout, not into GGUF files"
        )
    opened = open_gguf(resolved.path)
    precision = opened.parameters.precision
    return Source(
        resolved=resolved,
        files=opened.files,
        config=opened.config,
        spec=opened.spec,
        prompt_format=opened.prompt_format,
        precision=precision.dtype,
        tables=precision.tables,
        notices=precision.notices,
        generation=opened.generation,
        parameters=opened.parameters,
        stored=opened.stored,
    )


def _open_bundle(resolved: Resolved) -> Source:
    bundle, path = open_bundle(resolved.path), resolved.path
    config, format = bundle.document("spec"), bundle.document("prompt_format")
    formats, generation = bundle.manifest["formats"], bundle.manifest.get("generation") or {}
    check_generation(generation, f"{path}: manifest.json: generation")
    try:
        _options(**formats)
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


def _read_config(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(read_file(path).decode())
    except FileNotFoundError:
        raise UserError(f"{path.parent} is no model in the Hugging Face layout: there is no {path.name}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise FormatError(path, "is not a JSON object")
    return raw


def _spec(config: dict[str, Any], where: str | Path) -> Spec:
    check_numbers(config, where)
    try:
        return spec_from_config(config)
    except UserError as error:
        raise FormatError(where, str(error)) from error


def adapter_names(source: Source) -> list[str]:
    """What was merged into a model, now or when its bundle was made."""
    if source.bundle is None:
        return [each.name for each in source.adapters]
    found = source.bundle.document("lineage").get("adapters")
    return [str(each.get("source")) for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _percent(progress: Callable[[str], None] | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(f"{what} {100 * done // max(total, 1)} %")


def _info(source: Source, options: Options, target: str, context: int, program: Program) -> dict[str, Any]:
    spec, attention = source.spec, source.spec.layers[0].attention
    return {
        "name": source.resolved.display,
        "path": str(source.resolved.path),
        "adapters": adapter_names(source),
        "family": spec.family,
        "parameters": parameter_count(spec),
        "layers": len(spec.layers),
        "width": spec.width,
        "heads": attention.heads,
        "kv_heads": attention.kv_heads,
        "vocab": spec.vocab,
        "context": context,
        "trained_context": spec.context,
        "formats": formats_of(options) | {"checkpoint": source.stored or source.precision},
        "weights_bytes": program.weights_bytes,
        "target": target,
        "prompt_format": source.prompt_format.hash if source.prompt_format else None,
        "chat_template": bool(source.prompt_format and source.prompt_format.chat_template),
        "embedding": _embedding_facts(source),
        "bundle": source.bundle.manifest.get("payload") if source.bundle else None,
    }


def _embedding_facts(source: Source) -> dict[str, Any] | None:
    """What is used unasked by `Model.embed`, where the model says anything of it."""
    if source.embedding is None:
        return None
    facts = source.embedding
    return {name: getattr(facts, name) for name in ("pooling", "normalize", "max_tokens")} | {
        "prompts": list(facts.prompts)
    }
