"""Queries, keys and values come from one product, and rope, storing and attending follow on its rows.

One pass over the weights instead of three, and one buffer whose rows hold [q | k | v].
"""

from dataclasses import replace
from typing import Any

from llmos.compiler.graph import Block, Graph, Node
from llmos.compiler.passes.rewrite import definition, rebuild

__all__ = ["fuse_qkv", "stack_linears"]


def fuse_qkv(graph: Graph) -> Graph:
    """linear q, k, v of one value; rope of q and k; attention -> linear qkv; append_attend."""
    return graph.map_blocks(_fuse)


def _fuse(block: Block) -> Block:
    attend = next((node for node in block.nodes if node.op == "attention"), None)
    if attend is None:
        return block
    rope: dict[str, Any] = {}
    linears: list[Node] = []
    for value in attend.inputs:
        node = definition(block, value)
        if node and node.op == "rope":
            rope = node.attrs["rope"]
            node = definition(block, node.inputs[0])
        assert node and node.op == "linear", f"{value} comes from no product"
        linears.append(node)
    assert all(n.inputs == linears[0].inputs for n in linears), "q, k and v must read one value"
    qkv, shapes, fused = stack_linears(block, linears, "qkv")
    heads = attend.attrs
    joined = replace(attend, op="append_attend", inputs=(qkv.out,), attrs={**heads, "rope": rope or None})
    gone = {n.out for n in linears} | {n.out for n in block.nodes if n.op == "rope"}
    nodes = []
    for node in block.nodes:
        if node is linears[0]:
            nodes.append(qkv)
        elif node is attend:
            nodes.append(joined)
        elif node.out not in gone:
            nodes.append(node)
    return rebuild(block, nodes, shapes=shapes, fused=fused)


def stack_linears(block: Block, linears: list[Node], name: str) -> tuple[Node, dict, dict]:
    """One linear whose rows are those of the given ones, in order, with the shapes and origins of its parameters."""
    width = sum(n.width for n in linears)
    shapes: dict[str, tuple[int, ...]] = {name: (width, linears[0].attrs["in"])}
    fused = {name: tuple(n.params[0] for n in linears)}
    params = [name]
    if len(linears[0].params) == 2:
        params.append(name + ".bias")
        shapes[name + ".bias"] = (width,)
        fused[name + ".bias"] = tuple(n.params[1] for n in linears)
    return replace(linears[0], width=width, params=tuple(params)), shapes, fused
