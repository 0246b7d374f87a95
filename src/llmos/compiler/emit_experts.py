"""The mixture of experts in C++: choose, gather by expert, two products for each expert that has tokens, sum."""

from typing import Protocol

from llmos.compiler.formats import ACTIVATIONS
from llmos.compiler.graph import Node
from llmos.compiler.kernel_names import ACT, CTYPE, LINEAR, flag, rows_of
from llmos.compiler.passes.plan_memory import expert_scratch, row_bytes
from llmos.weights import packed_bytes

__all__ = ["experts"]

# Operations of an expert, and of the mixture besides: twice what there are now. Steps have few numbers to spare (team.h).
_OF_EXPERT, _BESIDES = 4, 8


class Writer(Protocol):
    """What it needs of `BlockWriter`: where values and parameters lie."""

    places: dict[str, int]

    def buffer(self, value: str) -> str: ...

    def stride(self, value: str) -> int: ...

    def count(self, node: Node) -> str: ...

    def param(self, node: Node, i: int) -> str: ...


def experts(write: Writer, n: Node) -> list[str]:
    """Choose, gather by expert, two products for each expert that has tokens, sum."""
    a, (source, scores) = n.attrs, n.inputs
    k, hidden = a["per_token"], a["hidden"]
    taken, format = (ACTIVATIONS[each] for each in a["formats"])  # of what goes into gate and up, and into down
    at = _scratch(write, n)
    row_in, row_hidden = row_bytes(taken, a["width"]), row_bytes(format, hidden)
    ld_hidden, ld_out = (row_bytes("float32", -(-width // 16) * 16) // 4 for width in (2 * hidden, a["width"]))
    quantised = at["hidden"] if format == "float32" else at["quantised"]
    if format == "float32":
        row_hidden = 4 * ld_hidden
    activated = rows_of(format, quantised, ld_hidden if format == "float32" else row_hidden)
    lines = [
        "{",
        f"  const uint32_t last = team.turn + {_OF_EXPERT * a['count'] + _BESIDES};  // whatever is chosen",
        f"  const int slots = {k} * {write.count(n)};",
        f"  int32_t* experts = (int32_t*){at['choice']};",
        "  int32_t* places = experts + slots;",
        "  float* weights = (float*)(places + slots);",
        f"  int32_t* starts = (int32_t*){at['starts']};",
        f"  ChooseExperts<{a['count']}, {k}, {flag(a['normalised'])}>(team, {write.buffer(scores)}, {write.stride(scores)}, "
        f"experts, weights, {write.count(n)});",
        f"  SortByExpert<{a['count']}>(team, experts, places, starts, slots);",
        f"  GatherSlots<{k}>(team, (const uint8_t*){write.buffer(source)}, {row_in}, places, {at['gathered']}, slots);",
        *_products(write, n, 0, 2 * hidden, a["width"], at["gathered"], row_in, at["hidden"], ld_hidden),
        f"  GatedActivate<{ACT[a['act']]}, {hidden}>(team, (float*){at['hidden']}, {ld_hidden}, {activated}, slots);",
    ]
    lines += [
        *_products(write, n, 1, a["width"], hidden, quantised, row_hidden, at["results"], ld_out),
        "  team.turn = last;",
        f"  SumSlots<{k}, {a['width']}>(team, (float*){at['results']}, {ld_out}, places, weights, {write.buffer(n.out)}, "
        f"{write.stride(n.out)}, {write.count(n)});",
        "}",
    ]
    return lines


def _products(
    write: Writer, n: Node, i: int, rows: int, columns: int, x: str, x_row: int, y: str, ldy: int
) -> list[str]:
    """Matrix i of each expert that has tokens, times its slots."""
    format = n.attrs["formats"][i]
    return [
        f"  for (int e = 0; e < {n.attrs['count']}; ++e) {{",
        "    const auto [first, count] = SlotsOf(starts, e, slots);",
        f"    if (count) {LINEAR[format]}<{rows}, {columns}, false, false>(team, {write.param(n, i)} + "
        f"(size_t)e * {packed_bytes(rows, columns, format)}, (const {CTYPE[ACTIVATIONS[format]]}*)({x} + (size_t)first * {x_row}), {x_row}, nullptr, nullptr, 0, "
        f"(float*){y} + (size_t)first * {ldy}, {ldy}, count);",
        "  }",
    ]


def _scratch(write: Writer, n: Node) -> dict[str, str]:
    """Pointers to the memory that the operation keeps while it runs, as bytes."""
    offset, out = write.places[f"{n.out}.scratch"], {}
    for name, n_bytes in expert_scratch(n.attrs).items():
        out[name] = f"c.token_rows<uint8_t>({offset})"
        offset += n_bytes
    return out
