"""Some rows of a matrix that is stored quantised: a parameter that shares a tensor with others."""

import itertools

import numpy as np

from llmos.weights.quantized import Groups, QuantizedTensor

__all__ = ["select_rows"]


def select_rows(tensor: QuantizedTensor, rows: np.ndarray) -> QuantizedTensor:
    """The tensor whose rows are those of the given numbers, in this order. Nothing is read yet."""
    if not len(rows):
        return tensor.rows(0, 0)
    runs = _runs(rows)
    if len(runs) == 1:
        return tensor.rows(*runs[0])

    def read_float32(start: int, stop: int) -> np.ndarray:
        return np.concatenate([tensor.rows(*run).float32() for run in _runs(rows[start:stop])])

    def read_groups(start: int, stop: int) -> Groups:
        return Groups.stacked([tensor.rows(*run).groups() for run in _runs(rows[start:stop])])

    return QuantizedTensor(
        dtype=tensor.dtype,
        shape=(len(rows), tensor.shape[1]),
        where=tensor.where,
        read_float32=read_float32,
        keeps=tensor.keeps,
        fits=tensor.fits,
        read_groups=None if tensor.keeps is None else read_groups,
    )


def _runs(rows: np.ndarray) -> list[tuple[int, int]]:
    """Numbers that follow one another as (first, one past the last)."""
    ends = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1), len(rows)]
    return [(int(rows[a]), int(rows[b - 1]) + 1) for a, b in itertools.pairwise(ends) if a < b]
