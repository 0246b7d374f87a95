"""The block types of GGUF tensors and what their bytes stand for.

A row is a run of blocks of 32 or 256 values. Source: ggml, `ggml-common.h` (layouts) and `dequantize_row_*` of `ggml-quants.c`
(values), with float32 operations in the same order, so that the numbers are those of ggml to the bit.

Axes: B blocks. A decoder takes a structured array (B,) of the type's layout.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llmos.weights.gguf.bits import bit_planes, five_bits, k_scales, nibbles, q3_scales

__all__ = ["BLOCKS", "IQ4_NL_VALUES", "PLAIN", "BlockType", "type_name"]


@dataclass(frozen=True, kw_only=True)
class BlockType:
    """values: of a block; layout: its bytes; decode: (B,) of the layout -> float32 (B, values)."""

    name: str
    values: int
    layout: np.dtype
    decode: Callable[[np.ndarray], np.ndarray]

    @property
    def n_bytes(self) -> int:
        return self.layout.itemsize


def _float(column: np.ndarray) -> np.ndarray:
    """A column of numbers as float32 (B, 1)."""
    return column.astype(np.float32)[:, None]


def _groups(values: np.ndarray, size: int) -> np.ndarray:
    """(B, n * size) -> float32 (B, n, size)."""
    return values.reshape(len(values), -1, size).astype(np.float32)


def _q4_0(b: np.ndarray) -> np.ndarray:
    return _float(b["d"]) * (nibbles(b["qs"], 16).astype(np.float32) - 8)


def _q4_1(b: np.ndarray) -> np.ndarray:
    return _float(b["d"]) * nibbles(b["qs"], 16).astype(np.float32) + _float(b["m"])


def _q5_0(b: np.ndarray) -> np.ndarray:
    return _float(b["d"]) * (five_bits(b["qs"], b["qh"]).astype(np.float32) - 16)


def _q5_1(b: np.ndarray) -> np.ndarray:
    return _float(b["d"]) * five_bits(b["qs"], b["qh"]).astype(np.float32) + _float(b["m"])


def _q8_0(b: np.ndarray) -> np.ndarray:
    return _float(b["d"]) * b["qs"].astype(np.float32)


def _q2_k(b: np.ndarray) -> np.ndarray:
    scale, minimum = _float(b["d"]) * (b["scales"] & 15), _float(b["dmin"]) * (b["scales"] >> 4)
    q = bit_planes(b["qs"], 32, (0, 2, 4, 6), 3)
    return _flat(scale[..., None] * _groups(q, 16) - minimum[..., None])


def _q3_k(b: np.ndarray) -> np.ndarray:
    low = bit_planes(b["qs"], 32, (0, 2, 4, 6), 3).astype(np.int8)
    absent = 1 - bit_planes(b["hmask"], 32, range(8), 1).astype(np.int8)  # the high bit is stored inverted
    scale = _float(b["d"]) * q3_scales(b["scales"]).astype(np.float32)
    return _flat(scale[..., None] * _groups(low - 4 * absent, 16))


def _q4_k(b: np.ndarray) -> np.ndarray:
    return _scaled_k(b, nibbles(b["qs"], 32))


def _q5_k(b: np.ndarray) -> np.ndarray:
    return _scaled_k(b, nibbles(b["qs"], 32) | bit_planes(b["qh"], 32, range(8), 1) << 4)


def _scaled_k(b: np.ndarray, q: np.ndarray) -> np.ndarray:
    scales, minimums = k_scales(b["scales"])
    scale, minimum = _float(b["d"]) * scales, _float(b["dmin"]) * minimums
    return _flat(scale[..., None] * _groups(q, 32) - minimum[..., None])


def _q6_k(b: np.ndarray) -> np.ndarray:
    q = nibbles(b["ql"], 64) | bit_planes(b["qh"], 32, (0, 2, 4, 6), 3) << 4
    scale = _float(b["d"]) * b["scales"].astype(np.float32)
    return _flat(scale[..., None] * (_groups(q, 16) - 32))


def _iq4_nl(b: np.ndarray) -> np.ndarray:
    return _float(b["d"]) * IQ4_NL_VALUES[nibbles(b["qs"], 16)].astype(np.float32)


def _flat(groups: np.ndarray) -> np.ndarray:
    return groups.reshape(len(groups), -1)


# The sixteen values of IQ4_NL's codes, in units of the block's scale.
IQ4_NL_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8)

# Types of ggml by number: those whose tensors are plain numbers with their name in numpy, then the blocks.
PLAIN = {0: ("float32", "<f4"), 1: ("float16", "<f2"), 30: ("bfloat16", "<u2")}
_D, _M, _QS = ("d", "<f2"), ("m", "<f2"), ("qs", "u1", 16)
_K = (_D, ("dmin", "<f2"), ("scales", "u1", 12))
BLOCKS = {
    number: BlockType(name=name, values=values, layout=np.dtype(list(layout)), decode=decode)
    for number, name, values, layout, decode in (
        (2, "Q4_0", 32, (_D, _QS), _q4_0),
        (3, "Q4_1", 32, (_D, _M, _QS), _q4_1),
        (6, "Q5_0", 32, (_D, ("qh", "<u4"), _QS), _q5_0),
        (7, "Q5_1", 32, (_D, _M, ("qh", "<u4"), _QS), _q5_1),
        (8, "Q8_0", 32, (_D, ("qs", "i1", 32)), _q8_0),
        (10, "Q2_K", 256, (("scales", "u1", 16), ("qs", "u1", 64), _D, ("dmin", "<f2")), _q2_k),
        (11, "Q3_K", 256, (("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), _D), _q3_k),
        (12, "Q4_K", 256, (*_K, ("qs", "u1", 128)), _q4_k),
        (13, "Q5_K", 256, (*_K, ("qh", "u1", 32), ("qs", "u1", 128)), _q5_k),
        (14, "Q6_K", 256, (("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), _D), _q6_k),
        (20, "IQ4_NL", 32, (_D, _QS), _iq4_nl),
    )
}

# For messages only.
_OTHER_NAMES = {
    4: "Q4_2",
    5: "Q4_3",
    9: "Q8_1",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    34: "TQ1_0",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
    41: "Q1_0",
    0: "F32",
    1: "F16",
    30: "BF16",
}


def type_name(number: int) -> str:
    """The name of a tensor type as people write it, known to LLMOS or not."""
    return BLOCKS[number].name if number in BLOCKS else _OTHER_NAMES.get(number, f"number {number}")
