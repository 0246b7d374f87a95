"""`plan_model`: what a verb would take on this machine, before it is done."""

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from llmos import hardware
from llmos.api.adapters import Adapters, adapter_list
from llmos.api.demand import Demand, Verb
from llmos.api.kernels import measure_kernels
from llmos.api.limits import check_count, chosen_context, chosen_memory
from llmos.api.notice import ModelNotice
from llmos.api.opening import open_source, open_tokenizer
from llmos.api.operations import operations
from llmos.api.options import choose_options
from llmos.api.prepare import demand, planned_graph
from llmos.api.roofs import measure_roofs
from llmos.api.source import Source, told
from llmos.api.threads import told_of_threads
from llmos.compiler import TARGETS, Graph, Options
from llmos.core.errors import UserError
from llmos.core.names import takes_named
from llmos.core.units import as_bytes
from llmos.hardware import resident_bytes
from llmos.models import check_trainable
from llmos.plan import Footprint, Roofs, pace

__all__ = ["VERBS", "Plan", "plan_model"]

_PROMPT = 512
VERBS = get_args(Verb)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a verb takes. Bytes, and tokens per second of all sequences together.

    prompt: tokens of each prompt; prefill: how fast they are read, decode: how fast the rest of the contexts is filled, bounds: what
    keeps each from being faster (memory, compute, or waiting for threads and Python). None where nothing was measured, or where
    the verb or the model does not generate, and of models with an encoder and a decoder, for which there are no formulas yet.

    memory: the parts of the phase that takes most; peak_bytes: the largest resident size of the process, the files that it maps
    among it; needed_bytes: what must be free, in needed_phase, which may be another phase; free_bytes: what is. largest_context and
    largest_batch: what fits of one while the other stays (of a batch at most 1024, which stands for more), None where a verb has
    none; advice: settings that make it fit, each of one change or of as few as do, written as in Python. memory_mode: weights in
    memory of their own (fast) or in their file (mapped), None where the verb does not run.
    """

    model: str
    verb: Verb
    weights: str
    kv: str
    context: int
    batch: int
    threads: int
    memory: dict[str, int]
    peak_phase: str
    peak_bytes: int
    needed_phase: str
    needed_bytes: int
    free_bytes: int
    fits: bool
    advice: tuple[str, ...] = ()
    largest_context: int | None = None
    largest_batch: int | None = None
    prompt: int | None = None
    prefill_tokens_per_s: float | None = None
    decode_tokens_per_s: float | None = None
    prefill_bound: str | None = None
    decode_bound: str | None = None
    roofs: Roofs | None = None
    memory_mode: Literal["fast", "mapped"] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `llmos plan --json` writes it."""
        return dataclasses.asdict(self)


@takes_named
def plan_model(
    name: str,
    verb: Verb = "run",
    *,
    context: int | None = None,
    batch: int = 1,
    weights: str | None = None,
    kv: str | None = None,
    memory: str | None = None,
    adapter: Adapters = None,
    threads: int | None = None,
    prompt: int | None = None,
    free_bytes: int | str | None = None,
    measure: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Plan:
    """What a verb would take with a model: memory and speed. Nothing is compiled for the model, loaded or written.

    name: as for `load_model`. verb: run (one batch), serve (as run, for so long that all pages of keys and values come into
    use), compile (into a bundle) or train (`batch` sequences of `context` tokens a step). context: tokens of each sequence, prompt
    and answer together; None as `load_model` chooses. batch: sequences at once. weights, kv, memory, adapter, threads: as for `load_model`.
    prompt: tokens of each sequence that are its prompt, None half of the context, 512 at most. free_bytes: memory that may be
    taken, a number or a text such as "4GiB", None what is free now. measure: measure this machine for a few seconds, without which no speed is told.

    Raises UserError for what cannot be used and FormatError for damaged files. That something does not fit is no error here.
    """
    if verb not in VERBS:
        raise UserError(f"verb is {verb!r}; allowed: {', '.join(VERBS)}")
    for setting, value in (("context", context), ("batch", batch), ("threads", threads), ("prompt", prompt)):
        check_count(setting, value)
    source = open_source(name, adapter_list(adapter), progress)
    for text in (*told(source, weights), *told_of_threads(threads)):
        warnings.warn(text, ModelNotice, stacklevel=3)
    reach, options = chosen_context(source.spec, context), choose_options(source, weights, kv)
    graph = planned_graph(source, options)
    wanted = demand(source, graph, context=reach, batch=batch, threads=threads, given=(weights, kv), verb=verb)
    free = hardware.memory().available if free_bytes is None else as_bytes(free_bytes)
    runs = verb in ("run", "serve")
    wanted = chosen_memory(wanted, memory, free) if runs else wanted
    footprint = _footprint(source, wanted, free)
    needed = footprint.needed_bytes
    read = _prompt(prompt, reach)
    counted = graph.encoder is None  # `operations` tells nothing of reading a source and of attending to it
    speed = _speed(graph, wanted, options, read, progress) if runs and measure and counted else {}
    if speed and not source.spec.head:
        speed |= {"decode_tokens_per_s": None, "decode_bound": None}
    return Plan(
        model=wanted.name,
        verb=verb,
        weights=options.weights,
        kv=options.kv,
        context=reach,
        batch=batch,
        threads=wanted.threads,
        memory={"this process": footprint.held_bytes} | {part.name: part.n_bytes for part in footprint.peak.parts},
        peak_phase=footprint.peak.name,
        peak_bytes=footprint.peak_bytes,
        needed_phase=footprint.tightest.name,
        needed_bytes=needed,
        free_bytes=free,
        fits=needed <= free,
        advice=tuple(wanted.advice(free)) if needed > free else (),
        largest_context=wanted.largest_context(free) if runs else None,
        largest_batch=wanted.largest_batch(free) if runs else None,
        prompt=read if runs else None,
        memory_mode=("mapped" if wanted.mapped else "fast") if runs else None,
        **speed,
    )


def _prompt(wanted: int | None, context: int) -> int:
    """Tokens of a prompt, which leaves room for an answer. Raises UserError where there is none."""
    if wanted is None:
        return max(1, min(_PROMPT, context // 2))
    if wanted > max(1, context - 1):
        raise UserError(
            f"prompt is {wanted}; a context of {context} tokens leaves room for {context - 1} before an answer"
        )
    return wanted


def _speed(
    graph: Graph, wanted: Demand, options: Options, prompt: int, progress: Callable[[str], None] | None
) -> dict[str, Any]:
    """The fields of a plan that tell speed, from what the machine reaches now."""
    roofs = measure_roofs(progress, threads=wanted.threads)
    if progress:
        progress("measuring the kernels")
    kernels = measure_kernels(
        TARGETS[roofs.target], weights=options.weights, kv=options.kv, threads=wanted.threads, batch=wanted.now.batch
    )
    found = pace(
        operations(graph),
        roofs,
        kernels,
        prompt=prompt,
        context=wanted.now.context,
        batch=wanted.now.batch,
        vocab=wanted.sizes.vocab,
    )
    return dataclasses.asdict(found) | {"roofs": roofs}


def _footprint(source: Source, wanted: Demand, free_bytes: int) -> Footprint:
    if wanted.verb == "train":
        check_trainable(source.spec)
    held = _held_bytes(source)
    if wanted.verb == "serve":
        n_pages = wanted.n_pages(free_bytes, wanted.now.batch if wanted.now.batch > 1 else None)
        return wanted.footprint(held, n_pages * wanted.sizes.page // wanted.sizes.tables)
    return wanted.footprint(held)


def _held_bytes(source: Source) -> int:
    """What a process with this model's tokenizer takes before it loads anything: this one does, so it is looked at."""
    tokenizer = open_tokenizer(source)
    held = resident_bytes()
    del tokenizer
    return held
