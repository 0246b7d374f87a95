"""From a name to a program that can run: open, choose, build the graph, compile for this machine, place the weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from llmos.api.assemble import rope_tables, weights_bytes
from llmos.api.demand import Demand, Verb, sizes_of
from llmos.api.embedding_settings import EmbeddingSettings
from llmos.api.facts import facts_of
from llmos.api.images import has_room
from llmos.api.limits import check_memory, chosen_context, chosen_memory, chosen_reach
from llmos.api.opening import open_source, open_tokenizer
from llmos.api.options import choose_options
from llmos.api.place import Placement, keeps_images
from llmos.api.source import Source, told
from llmos.api.threads import chosen_threads
from llmos.artifact import Bundle
from llmos.compiler import (
    FORMATS,
    Graph,
    Options,
    build_graph,
    chosen_target,
    compile_code,
    dict_hash,
    layout_hash,
    other_weights,
)
from llmos.core.errors import FormatError, UserError
from llmos.hardware import memory
from llmos.models import Spec
from llmos.native import include_dir, sources_hash
from llmos.plan import Choice, Sizes, step_rows
from llmos.runtime import Program
from llmos.text import PromptFormat, Tokenizer

__all__ = [
    "Prepared",
    "Source",
    "choose_options",
    "demand",
    "open_source",
    "open_tokenizer",
    "planned_graph",
    "prepare",
]


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
    memory_mode: str | None = None,
    adapters: Sequence[str] = (),
    free_bytes: int | None = None,
    keep_sums: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Prepared:
    """The compiled program of a model. weights: number format, None keeps the checkpoint's precision; context: positions.

    batch: full contexts to make room for, None as many as `plan.pool_pages` says. free_bytes: memory that may be taken, None
    what is free. memory_mode: fast, mapped or auto, None as the environment says.
    adapters: names of those to merge into it, in order. keep_sums: see `Placement`.

    Raises UserError for names, formats and settings that cannot be used, FormatError for damaged files, ResourceError where
    memory is short or there is no compiler.
    """
    source = open_source(name, adapters, progress)
    reach = chosen_context(source.spec, context)
    options = choose_options(source, weights, kv)
    graph = planned_graph(source, options)
    tokenizer = open_tokenizer(source)
    free = memory().available if free_bytes is None else free_bytes
    wanted = demand(source, graph, context=reach, batch=batch or 1, threads=threads, given=(weights, kv))
    wanted = chosen_memory(wanted, memory_mode, free)
    told_of_memory = check_memory(wanted, free, memory_mode)
    chosen = chosen_target(target)
    library = compile_code(graph, chosen, include=include_dir(), kernels_hash=sources_hash(), progress=progress)
    placement = Placement(
        source=source, options=options, graph=graph, library=library, progress=progress, keep_sums=keep_sums
    )
    program = Program(
        library=library,
        vocab=source.spec.vocab,
        width=source.spec.width,
        context=reach,
        weights_bytes=weights_bytes(graph),
        fill_weights=placement.fill,
        map_weights=placement.map if wanted.mapped else None,
        rope=rope_tables(source.spec, reach),
        whole=source.spec.bidirectional,
    )
    info = facts_of(source, options, graph, target=chosen.name, context=reach, weights_bytes=program.weights_bytes)
    info["memory"] = "mapped" if wanted.mapped else "fast"
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
        notices=(*told(source, weights), *told_of_memory),
    )


def demand(
    source: Source,
    graph: Graph,
    *,
    context: int,
    batch: int = 1,
    threads: int | None = None,
    given: tuple[str | None, str | None] = (None, None),
    verb: Verb | Literal["pack"] = "run",
) -> Demand:
    """What a verb with a source needs. given: the formats of weights, and of keys and values, as they were asked for."""
    fixed = source.bundle is not None

    @cache
    def sizes(weights: str | None, kv: str | None) -> Sizes:
        chosen = graph if (weights, kv) == given else build_graph(source.spec, choose_options(source, weights, kv))
        streamed = keeps_images(source, weights_bytes(chosen))
        return sizes_of(chosen, source.spec, source.mapped, source.converted, streamed=streamed)

    def smaller() -> list[str]:
        packed = {} if fixed else {format: sizes(format, given[1]).weights for format in FORMATS}
        fewer = [format for format, n_bytes in packed.items() if n_bytes < sizes(*given).weights]
        return sorted(fewer, key=packed.__getitem__, reverse=True)

    kept = graph.facts["kv"]
    return Demand(
        name=source.resolved.display,
        verb=verb,
        spec=source.spec,
        now=Choice(weights=given[0], kv=given[1], context=context, batch=batch),
        reach=chosen_reach(source.spec),
        threads=chosen_threads(threads),
        sizes_in=lambda choice: sizes(choice.weights, choice.kv),
        weights=smaller,
        mappable=fixed or has_room(weights_bytes(graph)),
        kv=() if fixed else _SMALLER_KV.get(kept, ("int8",)),
    )


_SMALLER_KV = {"float32": ("bf16", "int8"), "int8": ()}


def planned_graph(source: Source, options: Options) -> Graph:
    """The graph of a source. Raises FormatError for a bundle that holds another, or formats that its model cannot have."""
    try:
        graph = build_graph(source.spec, options)
    except UserError as error:
        if source.bundle is None:
            raise
        raise FormatError(source.bundle.path, f"manifest.json: field formats: {error}") from error
    if source.bundle is not None:
        _check_graph(source.bundle, graph)
    return graph


def _check_graph(bundle: Bundle, graph: Graph) -> None:
    """The graph is always built here, from the checked spec. The bundle's may have other operations, as older compilers made them;
    its packed weights have to be those that ours reads.
    """
    stored, manifest = bundle.document("graph"), bundle.manifest
    if manifest["graph"] != dict_hash(stored):
        raise FormatError(
            bundle.path, "manifest.json: field graph is not the hash of graph.json: one of them was changed"
        )
    try:
        other = other_weights(graph, stored)
    except ValueError as error:
        raise FormatError(bundle.path, f"graph.json {error}") from error
    if other is None and bundle.weights_bytes != weights_bytes(graph):
        other = f"weights.bin has {bundle.weights_bytes} bytes, not {weights_bytes(graph)}"
    if other is None and manifest.get("layout") not in (None, layout_hash(graph)):
        other = "they lie in another order"
    if other is not None:
        raise FormatError(
            bundle.path,
            f"holds other packed weights than this LLMOS reads for its spec: {other}; it was changed, or compiled by a version "
            "that lays weights out in another way: compile it again from its source",
        )
