"""GGUF blocks whose codes a weight format can take over as they are, without rounding a second time.

Each entry gives codes (B, values) and float16 scales (B, values / 32), and minimums where the format has them. Only Q4_K is not
exact: its scales are a product of a float16 and a small integer, which is rounded to float16 (2**-11 of the scale at most).
"""

from collections.abc import Callable

import numpy as np

from llmos.weights.gguf.bits import five_bits, k_scales, nibbles
from llmos.weights.gguf.blocks import IQ4_NL_VALUES

__all__ = ["HELD_BY", "Pieces"]

Pieces = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # codes, scales, minimums


def _column(numbers: np.ndarray) -> np.ndarray:
    return numbers[:, None]


def _q4_0(b: np.ndarray) -> Pieces:
    return nibbles(b["qs"], 16), _column(b["d"]), None


def _q4_1(b: np.ndarray) -> Pieces:
    return nibbles(b["qs"], 16), _column(b["d"]), _column(b["m"])


def _q5_0(b: np.ndarray) -> Pieces:
    return five_bits(b["qs"], b["qh"]).astype(np.int8) - np.int8(16), _column(b["d"]), None


def _q8_0(b: np.ndarray) -> Pieces:
    return b["qs"], _column(b["d"]), None


def _iq4_nl(b: np.ndarray) -> Pieces:
    return IQ4_NL_VALUES[nibbles(b["qs"], 16)], _column(b["d"]), None


def _q4_k(b: np.ndarray) -> Pieces:
    scales, minimums = k_scales(b["scales"])
    d, dmin = _column(b["d"]).astype(np.float32), _column(b["dmin"]).astype(np.float32)
    return nibbles(b["qs"], 32), (d * scales).astype(np.float16), -(dmin * minimums).astype(np.float16)


# Block type -> the smallest weight format that holds it, with what takes its blocks apart.
HELD_BY: dict[str, tuple[str, Callable[[np.ndarray], Pieces]]] = {
    "Q4_0": ("int4", _q4_0),
    "Q4_1": ("uint4", _q4_1),
    "Q4_K": ("uint4", _q4_k),
    "Q5_0": ("int8", _q5_0),
    "Q8_0": ("int8", _q8_0),
    "IQ4_NL": ("int8", _iq4_nl),
}
