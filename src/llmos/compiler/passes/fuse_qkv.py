"""Queries, keys and values come from one product; norms of heads, rope, storing and attending follow on its rows.

One pass over the weights instead of three, and one buffer whose rows hold [q | k | v].
"""

from dataclasses import replace
from typing import Any

from llmos.compiler.graph import Block, Graph, Node
from llmos.compiler.passes.rewrite import definition, rebuild

__all__ = ["fuse_qkv", "stack_linears"]


def fuse_qkv(graph: Graph) -> Graph:
    """linear q, k, v of one value; norms and rope of q and k; attention -> linear qkv; append_attend. Of an encoded source too."""
    return graph.map_blocks(_fuse)


def _fuse(block: Block) -> Block:
    attend = next((node for node in block.nodes if node.op == "attention"), None)
    if attend is None:
        return _fuse_memory(block)
    chains = [_chain(block, value) for value in attend.inputs]
    linears = [chain["linear"] for chain in chains]
    assert all(n.inputs == linears[0].inputs for n in linears), "q, k and v must read one value"
    qkv, shapes, fused = stack_linears(block, linears, "qkv")
    rope, norm = chains[0].get("rope"), chains[0].get("norm")
    attrs: dict[str, Any] = {**attend.attrs, "rope": None, "norm": None}
    if rope:
        attrs |= {name: rope.attrs[name] for name in ("rope", "rotated", "table")}
    if norm:
        own = len(block.shapes[norm.params[0]]) == 2
        attrs["norm"] = {"op": norm.op, "over": _over(norm, own), "eps": norm.attrs["eps"]}
    scales = tuple(chain["norm"].params[0] for chain in chains[:2]) if norm else ()
    joined = replace(attend, op="append_attend", inputs=(qkv.out,), params=(*scales, *attend.params), attrs=attrs)
    gone = {node.out for chain in chains for node in chain.values()}
    nodes = []
    for node in block.nodes:
        if node is linears[0]:
            nodes.append(qkv)
        elif node is attend:
            nodes.append(joined)
        elif node.out not in gone:
            nodes.append(node)
    return rebuild(block, nodes, shapes=shapes, fused=fused)


def _fuse_memory(block: Block) -> Block:
    """linear k, v of an encoded source; remember -> linear kv; append_cross."""
    store = next((node for node in block.nodes if node.op == "remember"), None)
    if store is None:
        return block
    linears = [_chain(block, value)["linear"] for value in store.inputs[:2]]
    kv, shapes, fused = stack_linears(block, linears, "cross.kv")
    return rebuild(
        block, [kv, replace(store, op="append_cross", inputs=(kv.out, store.inputs[2]))], shapes=shapes, fused=fused
    )


def _chain(block: Block, value: str) -> dict[str, Node]:
    """The nodes that make an operand of attention: linear, then a norm and a rope where there are some."""
    out: dict[str, Node] = {}
    while "linear" not in out:
        node = definition(block, value)
        assert node and node.op in _LINKS, f"{value} comes from no product"
        out[_LINKS[node.op]] = node
        value = node.inputs[0]
    return out


_LINKS = {"rope": "rope", "rms_norm": "norm", "layer_norm": "norm", "linear": "linear"}


def _over(norm: Node, own: bool) -> str:
    """As `HeadNorm.over`."""
    if "heads" not in norm.attrs:
        return "width"
    return "own" if own else "head"


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
