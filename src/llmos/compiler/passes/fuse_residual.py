"""A product whose result is only added to the residual stream adds it as it stores."""

from dataclasses import replace

from llmos.compiler.graph import Block, Graph
from llmos.compiler.passes.rewrite import definition, only_user, rebuild

__all__ = ["fuse_residual"]


def fuse_residual(graph: Graph) -> Graph:
    """add(x, linear(h)) -> add_linear(h, x)."""
    return graph.map_blocks(_fuse)


def _fuse(block: Block) -> Block:
    gone, swap = set(), {}
    for node in block.nodes:
        if node.op == "add":
            linear = definition(block, node.inputs[1])
            if linear and linear.op == "linear" and only_user(block, linear.out) is node:
                gone.add(linear.out)
                swap[node.out] = replace(
                    linear, op="add_linear", out=node.out, inputs=(linear.inputs[0], node.inputs[0])
                )
    return rebuild(block, [swap.get(node.out, node) for node in block.nodes if node.out not in gone])
