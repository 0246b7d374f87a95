"""What a compiled model does, operation by operation, and how long the measured roofs say that it takes.

An operation cannot be faster than its bytes through memory or its arithmetic at the peak of its number format; the larger of
the two is its predicted time, and which one it is says what would make it faster. The prediction is a bound: it knows no
caches (a model that fits into the last one may beat it) and no cost of starting and joining threads. Small elementwise
operations are charged the float32 peak, their values are taken to stay in a cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from llmos.api.operations import node_operations
from llmos.compiler import Graph
from llmos.compiler.graph import Node
from llmos.core.units import format_bytes
from llmos.plan import Operation, Roofs, Step, bound_s, compute_s, decode_step, memory_s

__all__ = ["Cost", "decode_costs", "explain_graph", "prefill_seconds"]

_PROMPT_TOKENS = 512  # what prefill is told for


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One operation of a block in a step with one token, and how often it runs."""

    operation: Operation
    node: Node
    step: Step

    @property
    def block(self) -> str:
        return self.operation.block

    @property
    def times(self) -> int:
        return self.operation.times

    @property
    def n_bytes(self) -> int:
        """Weights, and stored keys and values, that one run must read. The one row of an embedding table is not counted."""
        return int(self.operation.n_bytes(self.step))

    @property
    def operations(self) -> int:
        """Multiplications and additions of one run."""
        return int(self.operation.operations(self.step))

    def memory_s(self, roofs: Roofs) -> float:
        return memory_s(self.operation, self.step, roofs)

    def compute_s(self, roofs: Roofs) -> float:
        return compute_s(self.operation, self.step, roofs)

    def bound(self, roofs: Roofs) -> str:
        """What keeps it from being faster: memory or compute."""
        return "memory" if self.memory_s(roofs) > self.compute_s(roofs) else "compute"

    def seconds(self, roofs: Roofs) -> float:
        """Predicted time of all its runs for one token."""
        return self.times * bound_s(self.operation, self.step, roofs)


def decode_costs(graph: Graph, attended: float) -> list[Cost]:
    """What decoding one token costs that attends to `attended` tokens, itself among them."""
    step = decode_step(attended, 1)
    return [Cost(operation=operation, node=node, step=step) for operation, node in node_operations(graph)]


def prefill_seconds(graph: Graph, roofs: Roofs, n_tokens: int) -> float:
    """Predicted time of a prompt of `n_tokens` in one step: weights are read once, scores are computed for the last token.

    Of a model without scores: of a text whose hidden rows are all wanted.
    """
    speaks = graph.facts["head"]
    attended = (n_tokens + 1) / 2 if speaks else n_tokens  # on average over the prompt
    step = Step(tokens=n_tokens, outputs=1 if speaks else n_tokens, attended=attended)
    return sum(operation.times * bound_s(operation, step, roofs) for operation, _ in node_operations(graph))


def explain_graph(graph: Graph, roofs: Roofs, *, context: int) -> str:
    """A table with a line per operation of each block, for one decoded token, then the totals and what prefill takes.

    context: the model's; the decoded token stands behind 512 others where there is room for them.
    """
    prompt = min(_PROMPT_TOKENS, context - 1)
    costs = decode_costs(graph, prompt + 1)
    total_s = sum(cost.seconds(roofs) for cost in costs)
    read = sum(cost.times * cost.n_bytes for cost in costs)
    operations = sum(cost.times * cost.operations for cost in costs)
    prefill_s = prefill_seconds(graph, roofs, prompt) if prompt else 0.0
    lines = [*_table(costs, roofs, total_s), "", _roof_line(roofs)]
    if graph.facts["head"]:
        lines.append(
            f"decode after {prompt} tokens: {format_bytes(read)} read and {operations / 1e6:.1f} million operations per token, "
            f"predicted {_milliseconds(total_s)} per token, {1 / total_s:.0f} tokens/s"
        )
    if prompt:
        what = "prefill" if graph.facts["head"] else "a text"
        lines.append(
            f"{what} of {prompt} tokens: predicted {_milliseconds(prefill_s / prompt)} per token, {prompt / prefill_s:.0f} tokens/s"
        )
    buffers = graph.buffers
    lines.append(
        f"workspace: {buffers['token_bytes']} bytes per token of a step, {buffers['output_bytes']} per output row"
    )
    return "\n".join(lines)


def _table(costs: list[Cost], roofs: Roofs, total_s: float) -> Iterator[str]:
    """Bytes, millions of operations, predicted time and share of all runs of each operation for a token; 80 columns for most."""
    width = max(len("weights"), *(len(_parameters(cost)) for cost in costs))
    yield (
        f"{'block':<8} {'times':>5} {'operation':<14} {'weights':<{width}} {'read':>8} {'Mop':>8} "
        f"{'predicted':>9} {'bound':<7} {'share':>6}"
    )
    for cost in costs:
        seconds = cost.seconds(roofs)
        yield (
            f"{cost.block:<8} {cost.times:>5} {cost.node.op:<14} {_parameters(cost):<{width}} {format_bytes(cost.times * cost.n_bytes):>8} "
            f"{cost.times * cost.operations / 1e6:>8.3f} {_milliseconds(seconds):>9} {cost.bound(roofs):<7} {seconds / total_s:>6.1%}"
        )


def _parameters(cost: Cost) -> str:
    return ", ".join(cost.node.params)


def _roof_line(roofs: Roofs) -> str:
    peaks = ", ".join(f"{format} {roofs.peak(format) / 1e9:.0f}" for format in ("float32", "bf16", "int8"))
    threads = "1 thread" if roofs.threads == 1 else f"{roofs.threads} threads"
    return f"roofs of {roofs.target} with {threads}: memory {roofs.read_bytes_per_s / 1e9:.1f} GB/s; GOP/s: {peaks}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.4f} ms"
