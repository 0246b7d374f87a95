"""An embedding followed by a constant factor becomes one lookup with that factor."""

from dataclasses import replace

from llmos.compiler.graph import Graph, Node
from llmos.compiler.passes.rewrite import definition, only_user, rebuild

__all__ = ["fold_scale"]


def fold_scale(graph: Graph) -> Graph:
    """embed, scale -> embed with attribute `scale`."""
    block = graph.prologue
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for node in block.nodes:
        source = definition(block, node.inputs[0]) if node.inputs else None
        if node.op == "scale" and source and source.op == "embed" and only_user(block, source.out) is node:
            renamed[node.out] = source.out
            at = next(i for i, n in enumerate(nodes) if n.out == source.out)
            nodes[at] = replace(source, attrs={**source.attrs, "scale": node.attrs["by"]})
        else:
            nodes.append(node)
    return replace(graph, prologue=rebuild(block, nodes, renamed))
