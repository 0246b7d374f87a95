"""Places every value in one workspace: first fit over lifetimes, in bytes per row, so that no size need be known.

Slot 0 of the token region is the residual stream `%x`, read and left there by every block. A value whose operand dies with
it takes the operand's place where the operation works in place. Rows are padded to 64 bytes. The mixture of experts has memory of its
own while it runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from llmos.compiler.formats import ACTIVATIONS, EIGHT_BITS
from llmos.compiler.graph import Block, Graph, Node

__all__ = ["expert_scratch", "plan_memory", "row_bytes"]

# operation -> operand whose place the result may take
_FIRST = ("add", "add_first_row", "scale", "softcap", "act", "rms_norm", "layer_norm", "hidden")
_IN_PLACE = dict.fromkeys(_FIRST, 0) | {"add_linear": 1, "append_cross": 1}


@dataclass
class _Slot:
    offset: int
    n_bytes: int
    free_after: int  # index of the last node that reads it


def row_bytes(node_dtype: str, width: int) -> int:
    """Bytes of one row of a value, padded to 64."""
    if node_dtype == "bf16":
        n_bytes = 2 * (width + width % 2)
    elif node_dtype in EIGHT_BITS:
        n_bytes = 40 * -(-width // 32)
    else:
        n_bytes = 4 * width
    return -(-n_bytes // 64) * 64


def plan_memory(graph: Graph) -> Graph:
    """Fills `graph.buffers`: {block: {value: offset}} and the bytes of one token row and of one output row."""
    stream = row_bytes("float32", graph.facts["width"])
    places: dict[str, dict[str, int]] = {}
    sizes = {"T": stream, "O": 0}
    for name, block in graph.blocks():
        for rows in ("T", "O"):
            offsets, size = _place(block, rows, stream if rows == "T" else 0)
            places.setdefault(name, {}).update(offsets)
            sizes[rows] = max(sizes[rows], size)
    return replace(graph, buffers={"token_bytes": sizes["T"], "output_bytes": sizes["O"], "places": places})


def _place(block: Block, rows: str, start: int) -> tuple[dict[str, int], int]:
    last = {value: i for i, node in enumerate(block.nodes) for value in node.inputs}
    streams = rows == "T" and block.result.rows == "T"  # the block leaves its result in the residual stream
    if streams:
        last[block.result.out] = len(block.nodes)
    slots: list[_Slot] = []
    offsets = {"%x": 0} if rows == "T" else {}
    holder = {"%x": _Slot(0, start, last.get("%x", -1))} if rows == "T" else {}
    for i, node in enumerate(block.nodes):
        if node.rows != rows:
            continue
        if streams and node is block.result and holder["%x"].free_after < i:
            slot = holder["%x"]
        else:
            slot = _taken_over(node, i, holder, last) or _first_fit(slots, i, start, row_bytes(node.dtype, node.width))
        slot.free_after = max(last.get(node.out, i), i)
        if node.op == "experts":
            offsets[f"{node.out}.scratch"] = _first_fit(
                slots, i, start, sum(expert_scratch(node.attrs).values())
            ).offset
        holder[node.out] = slot
        offsets[node.out] = slot.offset
    if streams:
        assert offsets[block.result.out] == 0, (
            f"the result of a block must end in the residual stream, not at {offsets}"
        )
    return offsets, max([start, *(slot.offset + slot.n_bytes for slot in slots)])


def expert_scratch(attrs: Mapping[str, Any]) -> dict[str, int]:
    """Bytes for each token of what the operation `experts` keeps, by name, in the order of places.

    per_token slots of each: gathered inputs, gate and up, quantised hidden rows, outputs; besides them the choice.
    """
    k, (taken, hidden) = attrs["per_token"], (ACTIVATIONS[format] for format in attrs["formats"])
    return {
        "choice": _lines(12 * k),  # expert, weight, place of each slot
        "starts": _lines(4 * (attrs["count"] + 1)),
        "gathered": k * row_bytes(taken, attrs["width"]),
        "hidden": k * row_bytes("float32", _lanes(2 * attrs["hidden"])),
        "quantised": k * row_bytes(hidden, attrs["hidden"]),
        "results": k * row_bytes("float32", _lanes(attrs["width"])),
    }


def _lines(n_bytes: int) -> int:
    return -(-n_bytes // 64) * 64


def _lanes(width: int) -> int:
    return -(-width // 16) * 16


def _taken_over(node: Node, i: int, holder: dict[str, _Slot], last: dict[str, int]) -> _Slot | None:
    if node.op in _IN_PLACE and node.dtype == "float32":
        value = node.inputs[_IN_PLACE[node.op]]
        if value in holder and last[value] == i:
            return holder[value]
    return None


def _first_fit(slots: list[_Slot], i: int, start: int, n_bytes: int) -> _Slot:
    live = sorted((s for s in slots if s.free_after >= i), key=lambda s: s.offset)
    offset = start
    for slot in live:
        if slot.offset - offset >= n_bytes:
            break
        offset = max(offset, slot.offset + slot.n_bytes)
    slots.append(_Slot(offset, n_bytes, i))
    return slots[-1]
