"""What a compiled model does, operation by operation, and how long the measured roofs say that it takes.

An operation cannot be faster than its bytes through memory or its arithmetic at the peak of its number format; the larger of
the two is its predicted time, and which one it is says what would make it faster. The prediction is a bound: it knows no
caches (a model that fits into the last one may beat it) and no cost of starting and joining threads. Small elementwise
operations are charged the float32 peak, their values are taken to stay in a cache.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llmos.api.roofs import Roofs
from llmos.compiler import PAGE_TOKENS, Graph, kv_page_bytes
from llmos.compiler.graph import Node
from llmos.core.units import format_bytes
from llmos.weights import packed_bytes

__all__ = ["Cost", "decode_costs", "explain_graph", "prefill_seconds"]

_PROMPT_TOKENS = 512  # what prefill is told for


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One operation of a block, for one row of one layer, and how often a token runs it.

    n_bytes: weights, and stored keys and values, that must come from memory; operations: multiplications and additions;
    peak_format: the number format whose peak holds. The one row of an embedding table is not counted.
    """

    block: str
    times: int
    node: Node
    n_bytes: int
    operations: int
    peak_format: str

    def memory_s(self, roofs: Roofs) -> float:
        return self.n_bytes / roofs.read_bytes_per_s

    def compute_s(self, roofs: Roofs) -> float:
        return self.operations / roofs.peak(self.peak_format)

    def bound(self, roofs: Roofs) -> str:
        """What keeps it from being faster: memory or compute."""
        return "memory" if self.memory_s(roofs) > self.compute_s(roofs) else "compute"

    def seconds(self, roofs: Roofs) -> float:
        """Predicted time of all its runs for one token."""
        return self.times * max(self.memory_s(roofs), self.compute_s(roofs))


def decode_costs(graph: Graph, attended: float) -> list[Cost]:
    """What decoding one token costs that attends to `attended` tokens, itself among them."""
    return [_cost(graph, name, times, node, shapes, attended) for name, times, node, shapes in _nodes(graph)]


def prefill_seconds(graph: Graph, roofs: Roofs, n_tokens: int) -> float:
    """Predicted time of a prompt of `n_tokens` in one step: weights are read once, scores are computed for the last token."""
    total = 0.0
    for cost in decode_costs(graph, (n_tokens + 1) / 2):  # on average over the prompt
        rows = n_tokens if cost.node.rows == "T" else 1
        total += cost.times * max(cost.memory_s(roofs), rows * cost.compute_s(roofs))
    return total


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
    lines.append(
        f"decode after {prompt} tokens: {format_bytes(read)} read and {operations / 1e6:.1f} million operations per token, "
        f"predicted {_milliseconds(total_s)} per token, {1 / total_s:.0f} tokens/s"
    )
    if prompt:
        lines.append(
            f"prefill of {prompt} tokens: predicted {_milliseconds(prefill_s / prompt)} per token, {prompt / prefill_s:.0f} tokens/s"
        )
    buffers = graph.buffers
    lines.append(
        f"workspace: {buffers['token_bytes']} bytes per token of a step, {buffers['output_bytes']} per output row"
    )
    return "\n".join(lines)


def _table(costs: list[Cost], roofs: Roofs, total_s: float) -> Iterator[str]:
    """Bytes, operations, predicted time and share of all runs of each operation for a token."""
    width = max(len(_parameters(cost)) for cost in costs)
    yield (
        f"{'block':<9} {'times':>5}  {'operation':<14} {'parameters':<{width}} {'read':>9} {'operations':>11} "
        f"{'predicted':>11} {'bound':<7} {'share':>6}"
    )
    for cost in costs:
        seconds = cost.seconds(roofs)
        yield (
            f"{cost.block:<9} {cost.times:>5}  {cost.node.op:<14} {_parameters(cost):<{width}} {format_bytes(cost.times * cost.n_bytes):>9} "
            f"{cost.times * cost.operations / 1e6:>9.3f} M {_milliseconds(seconds):>11} {cost.bound(roofs):<7} {seconds / total_s:>6.1%}"
        )


def _parameters(cost: Cost) -> str:
    return ", ".join(cost.node.params)


def _roof_line(roofs: Roofs) -> str:
    peaks = ", ".join(f"{format} {roofs.peak(format) / 1e9:.0f}" for format in ("float32", "bf16", "int8"))
    threads = "1 thread" if roofs.threads == 1 else f"{roofs.threads} threads"
    return f"roofs of {roofs.target} with {threads}: memory {roofs.read_bytes_per_s / 1e9:.1f} GB/s; GOP/s: {peaks}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.4f} ms"


def _nodes(graph: Graph) -> Iterator[tuple[str, int, Node, Mapping[str, tuple[int, ...]]]]:
    """Block name, number of layers that share it, node, shapes of the block's parameters."""
    for name, block in graph.blocks():
        times = graph.layers.count(int(name.removeprefix("kind"))) if name.startswith("kind") else 1
        for node in block.nodes:
            yield name, times, node, block.shapes


def _is_matrix(node: Node, name: str) -> bool:
    return node.op == "experts" or (node.op in ("linear", "add_linear", "embed") and name == node.params[0])


def _cost(
    graph: Graph, block: str, times: int, node: Node, shapes: Mapping[str, tuple[int, ...]], attended: float
) -> Cost:
    vectors = sum(4 * math.prod(shapes[name]) for name in node.params if not _is_matrix(node, name))
    n_bytes, operations, peak_format = vectors, node.width, "float32"  # elementwise: an operation for each value
    if node.op in ("linear", "add_linear"):
        rows, columns = shapes[node.params[0]]
        peak_format = node.attrs["format"]
        n_bytes, operations = vectors + packed_bytes(rows, columns, peak_format), 2 * rows * columns
    elif node.op == "experts":  # those that one token needs
        peak_format, k = node.attrs["format"], node.attrs["per_token"]
        matrices = [shapes[name][1:] for name in node.params]
        n_bytes = k * sum(packed_bytes(rows, columns, peak_format) for rows, columns in matrices)
        operations = k * sum(2 * rows * columns for rows, columns in matrices)
    elif node.op == "append_attend":
        heads, kv_heads, head_dim = (node.attrs[name] for name in ("heads", "kv_heads", "head_dim"))
        attended = min(attended, node.attrs["window"] or attended)
        n_bytes = int(attended * kv_page_bytes(kv_heads, head_dim, graph.facts["kv"]) / PAGE_TOKENS)
        operations = int(4 * attended * heads * head_dim)
    return Cost(block=block, times=times, node=node, n_bytes=n_bytes, operations=operations, peak_format=peak_format)
