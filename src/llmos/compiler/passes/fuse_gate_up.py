"""The gate and up products of a gated MLP become one product, followed by act(gate) * up on its rows."""

from dataclasses import replace

from llmos.compiler.graph import Block, Graph
from llmos.compiler.passes.fuse_qkv import stack_linears
from llmos.compiler.passes.rewrite import definition, rebuild

__all__ = ["fuse_gate_up"]


def fuse_gate_up(graph: Graph) -> Graph:
    """mul(act(linear gate), linear up) -> gated_act(linear gate_up)."""
    return graph.map_blocks(_fuse)


def _fuse(block: Block) -> Block:
    for product in (node for node in block.nodes if node.op == "mul"):
        act = definition(block, product.inputs[0])
        up = definition(block, product.inputs[1])
        gate = definition(block, act.inputs[0]) if act and act.op == "act" else None
        if act and gate and up and gate.op == up.op == "linear" and gate.inputs == up.inputs:
            both, shapes, fused = stack_linears(block, [gate, up], "gate_up")
            gated = replace(product, op="gated_act", inputs=(both.out,), attrs=act.attrs)
            first = next(node for node in block.nodes if node in (gate, up))
            swap = {first.out: both, product.out: gated}
            gone = {gate.out, up.out, act.out} - {first.out}
            nodes = [swap.get(node.out, node) for node in block.nodes if node.out not in gone]
            renamed = {gate.out: both.out} if both.out != first.out else {}
            nodes = [replace(n, out=first.out) if n is both else n for n in nodes]
            nodes = [replace(n, inputs=(first.out,)) if n is gated else n for n in nodes]
            return rebuild(block, nodes, renamed if first.out != gate.out else {}, shapes, fused)
    return block
