"""What a compiled model does per token, operation by operation: bytes that must be read, operations, their ratio."""

from llmos.compiler import Graph
from llmos.compiler.graph import Node
from llmos.compiler.layout import packed_matrix_bytes
from llmos.core.units import format_bytes

__all__ = ["explain_graph"]


def explain_graph(graph: Graph) -> str:
    """A table: one line per operation of each block, times the layers that share the block, for one decoded token."""
    lines = [
        f"{'block':<10} {'times':>5}  {'operation':<14} {'parameters':<22} {'weights read':>13} {'operations':>12}"
    ]
    total_bytes = total_operations = 0
    for name, block in graph.blocks():
        times = graph.layers.count(int(name.removeprefix("kind"))) if name.startswith("kind") else 1
        for node in block.nodes:
            n_bytes, operations = _cost(graph, node, block.shapes)
            total_bytes += times * n_bytes
            total_operations += times * operations
            parameters = ", ".join(node.params)
            lines.append(
                f"{name:<10} {times:>5}  {node.op:<14} {parameters:<22} {format_bytes(n_bytes):>13} {operations / 1e6:>10.3f} M"
            )
    lines.append(f"per token: {format_bytes(total_bytes)} of weights, {total_operations / 1e6:.1f} million operations")
    lines.append(
        f"workspace: {graph.buffers['token_bytes']} bytes per token of a step, {graph.buffers['output_bytes']} per output row"
    )
    return "\n".join(lines)


def _cost(graph: Graph, node: Node, shapes) -> tuple[int, int]:
    """Bytes of weights and number of multiplications and additions for one row."""
    if node.op in ("linear", "add_linear"):
        rows, columns = shapes[node.params[0]]
        return packed_matrix_bytes(rows, columns, node.attrs["format"]), 2 * rows * columns
    plain = sum(4 * shapes[name][0] for name in node.params if len(shapes[name]) == 1)
    return plain, node.width
