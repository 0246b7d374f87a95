"""Rows of queries and keys in the order of files where rope turns neighbouring ones together, brought into ours."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from llmos.weights.quantized import Groups, QuantizedTensor
from llmos.weights.tensor import Tensor

__all__ = ["half_apart"]


def half_apart(tensor: Tensor | QuantizedTensor, heads: int) -> Tensor | QuantizedTensor:
    """A tensor of `heads` heads (rows, or values of a bias), its pairs of neighbours put half a head apart.

    Whole rows move, so the codes of a quantised tensor stay what they are.
    """
    size = tensor.shape[0] // heads
    if isinstance(tensor, Tensor):
        return Tensor(tensor.dtype, _moved(tensor.data, size), tensor.where)
    read_groups = None if tensor.keeps is None else _group_reader(tensor, size)
    return replace(tensor, first_row=0, read_float32=_float_reader(tensor, size), read_groups=read_groups)


def _float_reader(tensor: QuantizedTensor, size: int) -> Callable[[int, int], np.ndarray]:
    def read(start: int, stop: int) -> np.ndarray:
        first, last = _whole_heads(start, stop, size)
        return _moved(tensor.rows(first, last).float32(), size)[start - first : stop - first]

    return read


def _group_reader(tensor: QuantizedTensor, size: int) -> Callable[[int, int], Groups]:
    def read(start: int, stop: int) -> Groups:
        first, last = _whole_heads(start, stop, size)
        return _moved_groups(tensor.rows(first, last).groups(), size).rows(start - first, stop - first)

    return read


def _whole_heads(start: int, stop: int, size: int) -> tuple[int, int]:
    """The rows of all heads that some rows are in."""
    return start // size * size, -(-stop // size) * size


def _moved(rows: np.ndarray, size: int) -> np.ndarray:
    return rows.reshape(len(rows) // size, size // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _moved_groups(groups: Groups, size: int) -> Groups:
    parts = (groups.codes, groups.scales, groups.minimums)
    codes, scales, minimums = (None if part is None else _moved(part, size) for part in parts)
    assert codes is not None and scales is not None
    return Groups(codes=codes, scales=scales, minimums=minimums)
