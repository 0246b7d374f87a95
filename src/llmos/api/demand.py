"""What a verb asks of this machine, and the settings with which it would fit: `llmos.plan` over a graph's sizes."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from llmos.api.assemble import rope_bytes, weights_bytes
from llmos.compiler import Graph, page_bytes
from llmos.core.units import format_bytes
from llmos.models import Spec
from llmos.plan import (
    PAGE_TOKENS,
    Choice,
    Footprint,
    Sizes,
    compiling,
    context_bytes,
    largest,
    packing,
    pool_pages,
    remedies,
    running,
    training,
)

__all__ = ["MOST_SEQUENCES", "Demand", "Verb", "sizes_of"]

Verb = Literal["run", "serve", "compile", "train"]

MOST_SEQUENCES = 1024  # the end of the search for the largest batch: more would only wait for each other


def sizes_of(
    graph: Graph, spec: Spec, mapped: tuple[Path, ...] = (), converted: bool = False, streamed: bool = False
) -> Sizes:
    """The sizes of a planned graph. mapped: files that its weights are packed from; converted: they hold other than plain numbers;
    streamed: they are packed into a file first.
    """
    matrices = (shape[-2:] for _, block in graph.blocks() for shape in block.shapes.values() if len(shape) > 1)
    graphs = [graph] if graph.encoder is None else [graph, graph.encoder]
    largest_matrix = max(4 * rows * columns for rows, columns in matrices)
    source = sum(path.stat().st_size for path in mapped)
    return Sizes(
        weights=weights_bytes(graph),
        source=source,
        piece=source // max(1, _n_matrices(graph)),
        matrix=min(source, largest_matrix * source // max(1, 4 * _n_values(graph))),
        converted=largest_matrix if converted else 0,
        streamed=streamed,
        page=page_bytes(graph) * _tables(spec.encoder is not None),
        rope=rope_bytes(spec, 1),
        token=max(part.buffers["token_bytes"] for part in graphs),
        output=max(part.buffers["output_bytes"] for part in graphs),
        vocab=spec.vocab if spec.head else 0,
        whole=spec.bidirectional or spec.encoder is not None,
        tables=_tables(spec.encoder is not None),
    )


def _n_values(graph: Graph) -> int:
    """Parameters of a graph and its encoder."""
    return sum(times * math.prod(shape) for times, _, shape in _parameters(graph))


def _n_matrices(graph: Graph) -> int:
    """Matrices in the checkpoint of a graph and its encoder, about: one of several experts counts for each."""
    return sum(times * parts * math.prod(shape[:-2]) for times, parts, shape in _parameters(graph) if len(shape) > 1)


def _parameters(graph: Graph) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """How often each parameter comes, of how many it is made, and its shape; those of the encoder too."""
    counts = {f"kind{i}": graph.layers.count(i) for i in range(len(graph.kinds))}
    for name, block in graph.blocks():
        for parameter, shape in block.shapes.items():
            yield counts.get(name, 1), len(block.fused.get(parameter, (parameter,))), shape
    if graph.encoder is not None:
        yield from _parameters(graph.encoder)


def _tables(encoder: bool) -> int:
    """How many pages of the pool 32 positions of a context take: those of the answer, and of the source where there is one."""
    return 2 if encoder else 1


@dataclass(frozen=True, kw_only=True)
class Demand:
    """A verb with a model in certain settings; pack: compile where the code is there already. reach: the largest context that the model can have; sizes_in: its sizes in the
    formats of a choice, where None is what is taken unasked; weights, kv: other formats that take less, best first.
    mapped: weights stay in a file, which they can where it is mappable.
    """

    name: str
    verb: Verb | Literal["pack"]
    spec: Spec
    now: Choice
    reach: int
    threads: int
    sizes_in: Callable[[Choice], Sizes]
    weights: Callable[[], Sequence[str]] = tuple
    kv: Sequence[str] = ()
    mapped: bool = False
    mappable: bool = False

    @property
    def sizes(self) -> Sizes:
        return self.sizes_in(self.now)

    def footprint(self, held_bytes: int = 0, pool_bytes: int | None = None) -> Footprint:
        return self._footprint(self.now, held_bytes, pool_bytes)

    def needed(self, *, context: int | None = None, batch: int | None = None) -> int:
        """Bytes that must be free, in these settings or with some changed."""
        now = self.now
        return self._needed(replace(now, context=context or now.context, batch=batch or now.batch))

    def n_pages(self, free_bytes: int, batch: int | None) -> int:
        """Pages of the pool of keys and values, from the memory that the rest of the model leaves. batch: None where nobody says."""
        one = -(-self.now.context // PAGE_TOKENS)
        left = free_bytes - self.needed(batch=1) + one * self.sizes.page
        return self.sizes.tables * pool_pages(one, self.sizes.page, left, batch)

    def largest_context(self, free_bytes: int) -> int:
        """Of every sequence of the batch; 0 where not even one position fits."""
        return largest(lambda context: self.needed(context=context) <= free_bytes, self.reach)

    def largest_batch(self, free_bytes: int) -> int:
        """How many contexts fit at once, at most MOST_SEQUENCES, or the batch where that is more."""
        most = max(MOST_SEQUENCES, self.now.batch)
        return largest(lambda batch: self.needed(batch=batch) <= free_bytes, most)

    def advice(self, free_bytes: int) -> list[str]:
        """Settings that make it fit, as they are written in Python: one of them, or as few together as do. Empty where none do."""
        counts = () if self.verb in ("compile", "pack") else ("context", "batch")
        kv = self.kv if self.verb in ("run", "serve") else ()
        weights = () if self.verb == "train" else self.weights()
        found = remedies(self._needed, self.now, free_bytes, counts=counts, weights=weights, kv=kv)
        told = [" and ".join(f"{name}={value!r}" for name, value in change.items()) for change in found]
        may_map = self.mappable and not self.mapped and self.verb in ("run", "serve")
        return [*told, "memory='mapped'"] if may_map and replace(self, mapped=True).needed() <= free_bytes else told

    def refusal(self, free_bytes: int) -> str:
        """Why it does not fit and what would."""
        advice = self.advice(free_bytes)
        way = f"choose {', or '.join(advice)}" if advice else "choose a smaller model, or free some memory"
        return f"{self.name} needs {self._asked()}; {format_bytes(free_bytes)} is free: {way}"

    def _asked(self) -> str:
        now, sizes = self.now, self.sizes
        weights = f"{format_bytes(sizes.weights)} for weights"
        if self.verb == "pack":
            return f"{format_bytes(self.needed())} to be compiled"
        kv = now.batch * context_bytes(sizes, now.context) + sizes.rope * now.context
        rest = max(0, replace(self, mapped=True).needed() - kv)
        held = (
            f"a context of {now.context} tokens" if now.batch == 1 else f"{now.batch} contexts of {now.context} tokens"
        )
        return f"{weights}, {format_bytes(rest)} for the workspace and {format_bytes(kv)} for {held}"

    def _needed(self, choice: Choice) -> int:
        return self._footprint(choice).needed_bytes

    def _footprint(self, choice: Choice, held_bytes: int = 0, pool_bytes: int | None = None) -> Footprint:
        of: dict[str, int] = {"held_bytes": held_bytes, "threads": self.threads}
        if self.verb == "train":
            return training(self.spec, held_bytes=held_bytes, sequences=choice.batch, length=choice.context)
        if self.verb in ("compile", "pack"):
            return (compiling if self.verb == "compile" else packing)(self.sizes_in(choice), **of)
        sizes, mapped = self.sizes_in(choice), self.mapped
        return running(sizes, **of, context=choice.context, batch=choice.batch, pool_bytes=pool_bytes, mapped=mapped)
