"""Which of the kernels' ways a target takes, for people: the dispatch of the C++ headers, as a table.

A way is portable where the target has no instruction for what is done and plain arithmetic stands in: it gives the same
integers and takes longer. A test holds the conditions of the table to those of the headers.
"""

from dataclasses import dataclass

from llmos.compiler.graph import Node
from llmos.compiler.targets import Target

__all__ = [
    "Implementation",
    "attention_implementation",
    "implementation",
    "product_implementation",
    "row_implementation",
]


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """instructions: what does the work; portable: it stands in for instructions that the target does not have."""

    instructions: str
    portable: bool = False

    def __str__(self) -> str:
        return self.instructions + (" (portable)" if self.portable else "")


def _way(instructions: str, portable: bool = False) -> Implementation:
    return Implementation(instructions=instructions, portable=portable)


# Features, as targets name them -> the way; the first whose features are there is taken, as by the #if of vec.h.
_Ways = tuple[tuple[frozenset[str], Implementation], ...]
_ALWAYS: frozenset[str] = frozenset()
_NEON = frozenset({"neon"})  # which every processor of aarch64 has
_ROWS: _Ways = (
    (frozenset({"avx512f"}), _way("AVX-512")),
    (frozenset({"avx2"}), _way("AVX2")),
    (_NEON, _way("NEON")),
    (_ALWAYS, _way("SSE2")),
)
_FLOATS: _Ways = (
    (frozenset({"avx512f"}), _way("AVX-512 FMA")),
    (frozenset({"fma"}), _way("AVX2 FMA")),
    (_NEON, _way("NEON FMA")),
    (_ALWAYS, _way("SSE2 multiply, add")),
)
_BF16: _Ways = (
    (frozenset({"avx512_bf16"}), _way("AVX-512 vdpbf16ps")),
    (frozenset({"avx512f"}), _way("shift, AVX-512 FMA", portable=True)),
    (frozenset({"fma"}), _way("shift, AVX2 FMA", portable=True)),
    (_NEON, _way("shift, NEON FMA", portable=True)),
    (_ALWAYS, _way("shift, SSE2 multiply, add", portable=True)),
)
_HALF: _Ways = (
    (frozenset({"avx512f"}), _way("vcvtph2ps, AVX-512 FMA")),
    (frozenset({"f16c"}), _way("vcvtph2ps, AVX2 FMA")),
    (_NEON, _way("fcvtl, NEON FMA")),
    (_ALWAYS, _way("bit by bit, SSE2 multiply, add", portable=True)),
)
_INT8: _Ways = (
    (frozenset({"avx512_vnni"}), _way("AVX-512 vpdpbusd")),
    (frozenset({"avx2"}), _way("AVX2 vpmaddubsw")),
    (frozenset({"asimddp"}), _way("NEON sdot")),
    (_NEON, _way("NEON smull", portable=True)),
    (_ALWAYS, _way("plain integers", portable=True)),
)
_NIBBLES: _Ways = (
    (frozenset({"avx512_vnni"}), _way("AVX-512 vpdpbusd")),
    (frozenset({"avx512bw"}), _way("AVX-512 vpmaddubsw")),
    (frozenset({"avx2"}), _way("AVX2 vpmaddubsw")),
    (frozenset({"asimddp"}), _way("NEON sdot")),
    (_NEON, _way("NEON smull", portable=True)),
    (_ALWAYS, _way("plain integers", portable=True)),
)
_PRODUCTS = {
    "float32": _FLOATS,
    "float16": _HALF,
    "bf16": _BF16,
    "int8": _INT8,
    "int4": _NIBBLES,
    "uint4": _NIBBLES,
}
_STORED = {
    "float32": _FLOATS,
    "float16": _HALF,
    "bf16": _BF16,
    "int8": _FLOATS,  # widened by plain vectors
}


def product_implementation(target: Target, format: str) -> Implementation:
    """How a matrix in a weight format is multiplied."""
    return _first(target, _PRODUCTS[format])


def attention_implementation(target: Target, kv: str) -> Implementation:
    """How queries meet stored keys and values of a format."""
    return _first(target, _STORED[kv])


def row_implementation(target: Target) -> Implementation:
    """How rows are normed, turned, activated, rounded and drawn from."""
    return _first(target, _ROWS)


def implementation(target: Target, node: Node, kv: str) -> Implementation:
    """How a node of a planned graph is computed. kv: format of stored keys and values. Of experts: the first of their matrices."""
    if node.op in ("append_attend", "cross_attend"):
        return attention_implementation(target, kv)
    if node.op in ("linear", "add_linear", "gated_linear", "experts"):
        return product_implementation(target, next(iter(node.formats.values())))
    return row_implementation(target)


def _first(target: Target, ways: _Ways) -> Implementation:
    has = target.needs | (_NEON if target.architecture == "aarch64" else _ALWAYS)
    return next(way for needs, way in ways if needs <= has)
