"""The operations of a planned graph as `llmos.plan` counts them: the one source of costs for `explain` and `plan`."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from llmos.compiler import Graph, kv_page_bytes
from llmos.compiler.graph import Node
from llmos.plan import Operation

__all__ = ["node_operations", "operations"]


def operations(graph: Graph) -> list[Operation]:
    """The operations of every block, in order."""
    return [operation for operation, _ in node_operations(graph)]


def node_operations(graph: Graph) -> Iterator[tuple[Operation, Node]]:
    """Each operation with the node that it is of."""
    for name, block in graph.blocks():
        times = graph.layers.count(int(name.removeprefix("kind"))) if name.startswith("kind") else 1
        for node in block.nodes:
            facts: dict[str, Any] = {
                "block": name,
                "times": times,
                "op": node.op,
                "rows": node.rows,
                "width": node.width,
                "made": node.dtype,
            }
            yield Operation(**facts | {"params": node.params} | _special(graph, node, block.shapes)), node


def _special(graph: Graph, node: Node, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """What an operation has beside its rows."""
    vectors = sum(4 * math.prod(shapes[name]) for name in node.params if name not in node.matrices)
    if node.op in ("linear", "add_linear", "gated_linear", "experts"):
        matrices = {
            "shapes": tuple(shapes[name][-2:] for name in node.matrices),
            "formats": tuple(node.formats.values()),
        }
        if node.op != "experts":
            return {"kind": "product", "vectors": vectors} | matrices
        a = node.attrs
        joins = 5 + int(len(node.matrices) * a["count"])
        return {"kind": "experts", "joins": joins, "count": a["count"], "per_token": a["per_token"]} | matrices
    if node.op == "append_attend":
        a = node.attrs
        page = kv_page_bytes(a["kv_heads"], a["head_dim"], graph.facts["kv"])
        of_heads = {name: a[name] for name in ("heads", "kv_heads", "head_dim", "window")}
        joins = 2 + len(node.params)  # storing, attending, and a norm of queries and one of keys
        stored = {"stored": graph.facts["kv"], "kv_page_bytes": page}
        return {"kind": "attention", "vectors": vectors, "joins": joins} | stored | of_heads
    return {"kind": "rows", "vectors": vectors}
