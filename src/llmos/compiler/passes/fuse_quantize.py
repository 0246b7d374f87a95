"""A norm or an activation that is only read in the format of a product makes its rows in that format."""

from dataclasses import replace

from llmos.compiler.graph import Block, Graph
from llmos.compiler.passes.rewrite import definition, only_user, rebuild

__all__ = ["fuse_quantize"]

_OPS = ("rms_norm", "layer_norm", "act", "gated_act")


def fuse_quantize(graph: Graph) -> Graph:
    """quantize(norm(x)) -> norm(x) with the dtype of the former."""
    return graph.map_blocks(_fuse)


def _fuse(block: Block) -> Block:
    gone, swap = set(), {}
    for node in block.nodes:
        made = definition(block, node.inputs[0]) if node.op == "quantize" else None
        if made and made.op in _OPS and only_user(block, made.out) is node:
            gone.add(made.out)
            swap[node.out] = replace(made, out=node.out, dtype=node.dtype)
    return rebuild(block, [swap.get(node.out, node) for node in block.nodes if node.out not in gone])
