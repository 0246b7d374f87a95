"""A gated MLP's products and activation become one operation, which never writes what the gate and up products give."""

from dataclasses import replace

from llmos.compiler.graph import Block, Graph
from llmos.compiler.passes.rewrite import definition, only_user, rebuild

__all__ = ["fuse_gated"]

_GROUP = 32  # rows that are rounded together: an operation makes whole groups


def fuse_gated(graph: Graph) -> Graph:
    """gated_act(linear(x)) -> gated_linear(x), where there are no biases and as many rows as make whole groups."""
    return graph.map_blocks(_fuse)


def _fuse(block: Block) -> Block:
    gone, swap = set(), {}
    for node in block.nodes:
        made = definition(block, node.inputs[0]) if node.op == "gated_act" else None
        whole = node.width % _GROUP == 0
        if made and whole and made.op == "linear" and len(made.params) == 1 and only_user(block, made.out) is node:
            gone.add(made.out)
            attrs = {**made.attrs, "kind": node.attrs["kind"]}
            swap[node.out] = replace(node, op="gated_linear", inputs=made.inputs, params=made.params, attrs=attrs)
    return rebuild(block, [swap.get(node.out, node) for node in block.nodes if node.out not in gone])
