"""What the passes share: users of values, replacement of nodes, renumbering."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from llmos.compiler.graph import Block, Node

__all__ = ["definition", "only_user", "rebuild", "users"]


def users(block: Block, value: str) -> list[Node]:
    """The nodes that read a value."""
    return [node for node in block.nodes if value in node.inputs]


def only_user(block: Block, value: str) -> Node | None:
    """The single node that reads a value; None where several do or the value leaves the block."""
    found = users(block, value)
    return found[0] if len(found) == 1 and value != block.result.out else None


def definition(block: Block, value: str) -> Node | None:
    """The node that makes a value; None for the block's input."""
    return next((node for node in block.nodes if node.out == value), None)


def rebuild(
    block: Block,
    nodes: Iterable[Node],
    renamed: Mapping[str, str] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    fused: Mapping[str, tuple[str, ...]] | None = None,
) -> Block:
    """The block with new nodes: values renamed, numbered anew in order, parameters that nothing reads left out."""
    renamed = dict(renamed or {})
    numbers: dict[str, str] = {"%x": "%x"}
    out: list[Node] = []
    for node in nodes:
        inputs = tuple(numbers[_final(renamed, value)] for value in node.inputs)
        numbers[node.out] = f"%{len(out)}"
        out.append(replace(node, out=numbers[node.out], inputs=inputs))
    all_shapes = {**block.shapes, **(shapes or {})}
    all_fused = {**block.fused, **(fused or {})}
    used = dict.fromkeys(name for node in out for name in node.params)
    return Block(
        nodes=tuple(out),
        shapes={name: all_shapes[name] for name in used},
        fused={name: all_fused[name] for name in used if name in all_fused},
        formats=block.formats,
    )


def _final(renamed: Mapping[str, str], value: str) -> str:
    while value in renamed:
        value = renamed[value]
    return value
