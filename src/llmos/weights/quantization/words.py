"""Integers of 4 or 8 bits that lie in 32-bit words, lowest bits first."""

import numpy as np

__all__ = ["unpack_columns", "unpack_rows"]


def unpack_columns(words: np.ndarray, bits: int) -> np.ndarray:
    """words: (n, m) of 32 bits, each holding neighbours of a row. Returns uint8 (n, m * 32 / bits)."""
    as_bytes = np.ascontiguousarray(words).astype("<u4", copy=False).view(np.uint8)
    if bits == 8:
        return as_bytes
    out = np.empty((*as_bytes.shape, 2), np.uint8)
    np.bitwise_and(as_bytes, 15, out=out[..., 0])
    np.right_shift(as_bytes, 4, out=out[..., 1])
    return out.reshape(len(words), -1)


def unpack_rows(words: np.ndarray, bits: int) -> np.ndarray:
    """words: (m, n) of 32 bits, each holding neighbours of a column. Returns uint8 (n, m * 32 / bits): columns become rows."""
    return unpack_columns(words.T, bits)
