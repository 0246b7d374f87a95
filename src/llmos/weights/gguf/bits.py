"""How ggml spreads codes and scales over the bytes of a block.

Axes: B blocks. Everything here is integers; what they are multiplied with is in `blocks`.
"""

from collections.abc import Iterable

import numpy as np

__all__ = ["bit_planes", "five_bits", "k_scales", "nibbles", "q3_scales"]


def nibbles(qs: np.ndarray, run: int) -> np.ndarray:
    """uint8 (B, n) -> codes (B, 2 n): of each run of bytes all low halves, then all high ones."""
    return bit_planes(qs, run, (0, 4), 15)


def bit_planes(qs: np.ndarray, run: int, shifts: Iterable[int], mask: int) -> np.ndarray:
    """uint8 (B, n) -> codes (B, n * shifts): of each run of bytes the bits at every shift in turn."""
    by = np.array(list(shifts), np.uint8)[:, None]
    return ((qs.reshape(len(qs), -1, 1, run) >> by) & np.uint8(mask)).reshape(len(qs), -1)


def five_bits(qs: np.ndarray, qh: np.ndarray) -> np.ndarray:
    """Codes uint8 (B, 32) of four low bits in `qs` (B, 16) and one high bit each in `qh` (B,) uint32."""
    high = (qh[:, None] >> np.arange(32, dtype=np.uint32) & 1).astype(np.uint8)
    return nibbles(qs, 16) | high << 4


def k_scales(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales and minimums (B, 8), six bits each, of the twelve bytes (B, 12) of Q4_K and Q5_K.

    The first four of each are the low six bits of bytes 0..3 and 4..7; the others have their low four bits in the halves of
    bytes 8..11 and their high two bits on top of the first ones.
    """
    first, second, third = packed.reshape(len(packed), 3, 4).swapaxes(0, 1)
    scales = np.concatenate([first & 63, third & 15 | first >> 6 << 4], axis=1)
    return scales, np.concatenate([second & 63, third >> 4 | second >> 6 << 4], axis=1)


def q3_scales(packed: np.ndarray) -> np.ndarray:
    """Scales int8 (B, 16), -32..31, of the twelve bytes of Q3_K: four low bits in bytes 0..7, two high ones in 8..11."""
    low = bit_planes(packed[:, :8], 8, (0, 4), 15)
    high = bit_planes(packed[:, 8:], 4, (0, 2, 4, 6), 3)
    return (low | high << 4).astype(np.int8) - np.int8(32)
