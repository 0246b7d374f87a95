"""What loading a model asks of this machine, and the settings with which it would fit: `llmos.plan` over a graph's sizes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmos.api.assemble import rope_bytes, weights_bytes
from llmos.compiler import Graph, page_bytes
from llmos.core.units import format_bytes
from llmos.models import Spec
from llmos.plan import PAGE_TOKENS, Footprint, Sizes, context_bytes, largest, pool_pages, running

__all__ = ["Demand", "sizes_of"]

_MOST_SEQUENCES = 1 << 20  # the end of the search for the largest batch


def sizes_of(graph: Graph, spec: Spec, mapped: tuple[Path, ...] = (), converted: bool = False) -> Sizes:
    """The sizes of a planned graph. mapped: files that its weights are packed from; converted: they hold other than plain numbers."""
    matrices = (shape[-2:] for _, block in graph.blocks() for shape in block.shapes.values() if len(shape) > 1)
    graphs = [graph] if graph.encoder is None else [graph, graph.encoder]
    largest_matrix = max(4 * rows * columns for rows, columns in matrices)
    return Sizes(
        weights=weights_bytes(graph),
        source=sum(path.stat().st_size for path in mapped),
        converted=largest_matrix if converted else 0,
        page=page_bytes(graph) * _tables(spec.encoder is not None),
        rope=rope_bytes(spec, 1),
        token=max(part.buffers["token_bytes"] for part in graphs),
        output=max(part.buffers["output_bytes"] for part in graphs),
        vocab=spec.vocab if spec.head else 0,
        whole=spec.bidirectional or spec.encoder is not None,
        tables=_tables(spec.encoder is not None),
    )


def _tables(encoder: bool) -> int:
    """How many pages of the pool 32 positions of a context take: those of the answer, and of the source where there is one."""
    return 2 if encoder else 1


@dataclass(frozen=True, kw_only=True)
class Demand:
    """A model in certain settings. reach: the largest context that it can have; others: its sizes in other weight formats."""

    name: str
    sizes: Sizes
    reach: int
    context: int
    batch: int
    threads: int
    others: Callable[[], Mapping[str, Sizes]] = dict

    def footprint(self, held_bytes: int = 0, pool_bytes: int | None = None) -> Footprint:
        return self._footprint(self.sizes, self.context, self.batch, held_bytes, pool_bytes)

    def needed(self, sizes: Sizes | None = None, context: int | None = None, batch: int | None = None) -> int:
        """Bytes that must be free, in these settings or with some changed."""
        return self._footprint(sizes or self.sizes, context or self.context, batch or self.batch).needed_bytes

    def n_pages(self, free_bytes: int, batch: int | None) -> int:
        """Pages of the pool of keys and values, from the memory that the rest of the model leaves. batch: None where nobody says."""
        one = -(-self.context // PAGE_TOKENS)
        left = free_bytes - self.needed(batch=1) + one * self.sizes.page
        return self.sizes.tables * pool_pages(one, self.sizes.page, left, batch)

    def largest_context(self, free_bytes: int, sizes: Sizes | None = None) -> int:
        """Of every sequence of the batch; 0 where not even one position fits."""
        return largest(lambda context: self.needed(sizes, context=context) <= free_bytes, self.reach)

    def largest_batch(self, free_bytes: int) -> int:
        """How many contexts fit at once."""
        return largest(lambda batch: self.needed(batch=batch) <= free_bytes, _MOST_SEQUENCES)

    def advice(self, free_bytes: int) -> list[str]:
        """Changes of one setting, each of which makes it fit, or else of two. Empty where none does."""
        context, batch = self.largest_context(free_bytes), self.largest_batch(free_bytes)
        found = [f"lower context to {context}"] if context else []
        found += [f"lower batch to {batch}"] if batch else []
        others = sorted(self.others().items(), key=lambda item: -item[1].weights)
        fitting = [kind for kind, sizes in others if self.needed(sizes) <= free_bytes]
        if fitting:
            found.append(f"load it with weights='{fitting[0]}'")
        if not found:
            reached = ((kind, self.largest_context(free_bytes, sizes)) for kind, sizes in others)
            found += [
                f"load it with weights='{kind}' and lower context to {reach}" for kind, reach in reached if reach
            ][:1]
        return found

    def refusal(self, free_bytes: int) -> str:
        """Why it does not fit and what would."""
        kv = self.batch * context_bytes(self.sizes, self.context) + self.sizes.rope * self.context
        rest = self.needed() - kv - self.sizes.weights
        held = (
            f"a context of {self.context} tokens"
            if self.batch == 1
            else f"{self.batch} contexts of {self.context} tokens"
        )
        advice = ", or ".join(self.advice(free_bytes)) or "choose a smaller model, or free some memory"
        return (
            f"{self.name} needs {format_bytes(self.sizes.weights)} for weights, {format_bytes(max(rest, 0))} for the workspace "
            f"and {format_bytes(kv)} for {held}; {format_bytes(free_bytes)} is free: {advice}"
        )

    def _footprint(
        self, sizes: Sizes, context: int, batch: int, held_bytes: int = 0, pool_bytes: int | None = None
    ) -> Footprint:
        return running(
            sizes, held_bytes=held_bytes, context=context, batch=batch, threads=self.threads, pool_bytes=pool_bytes
        )
