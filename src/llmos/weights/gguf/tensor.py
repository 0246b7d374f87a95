"""A tensor of a GGUF file: plain numbers as a `Tensor`, blocks as a `QuantizedTensor` that reads its rows when asked."""

from collections.abc import Callable

import numpy as np

from llmos.core.errors import FormatError
from llmos.weights.gguf.blocks import BLOCKS, PLAIN, BlockType
from llmos.weights.gguf.groups import HELD_BY, Pieces
from llmos.weights.quantized import GROUP, Groups, QuantizedTensor
from llmos.weights.tensor import Tensor

__all__ = ["stored_tensor"]

_CHUNK_VALUES = 1 << 20  # decoded at once: temporaries stay within the cache's reach and memory near 20 MB


def stored_tensor(kind: int, raw: np.ndarray, shape: tuple[int, ...], where: str) -> Tensor | QuantizedTensor:
    """The tensor in `raw` (uint8). kind: ggml's number of its type.

    A quantised tensor `keeps` the smallest weight format that holds it. One that is no matrix is decoded: what is not
    multiplied with is small.
    """
    if kind in PLAIN:
        name, code = PLAIN[kind]
        return Tensor(name, raw.view(code).reshape(shape), where)
    type = BLOCKS[kind]
    rows = raw.reshape(-1, shape[-1] // type.values * type.n_bytes)
    if len(shape) != 2:
        return Tensor("float32", _decode(type, rows).reshape(shape), where)
    keeps, take_apart = HELD_BY.get(type.name, (None, None))
    return QuantizedTensor(
        dtype=type.name.lower(),
        shape=(shape[0], shape[1]),
        where=where,
        read_float32=lambda start, stop: _decode(type, rows[start:stop]),
        keeps=keeps,
        fits="int8",
        read_groups=None if take_apart is None else _group_reader(type, rows, take_apart, where),
    )


def _decode(type: BlockType, rows: np.ndarray) -> np.ndarray:
    """float32 (N, K) of rows of blocks (N, bytes). Damaged scales give NaN and infinity, which whoever packs refuses."""
    columns = rows.shape[1] // type.n_bytes * type.values
    out = np.empty((len(rows), columns), np.float32)
    step = max(1, _CHUNK_VALUES // columns)
    with np.errstate(invalid="ignore"):
        for start in range(0, len(rows), step):
            part = out[start : start + step]
            part[:] = type.decode(_blocks(type, rows[start : start + step])).reshape(part.shape)
    return out


def _group_reader(
    type: BlockType, rows: np.ndarray, take_apart: Callable[[np.ndarray], Pieces], where: str
) -> Callable[[int, int], Groups]:
    def read(start: int, stop: int) -> Groups:
        n = stop - start
        with np.errstate(invalid="ignore", over="ignore"):
            codes, *of_groups = take_apart(_blocks(type, rows[start:stop]))
        scales, minimums = (None if part is None else part.reshape(n, -1) for part in of_groups)
        for part in (scales, minimums):
            if part is not None and not np.isfinite(part).all():
                raise FormatError(where, "holds scales that are NaN or infinite: the file is damaged")
        assert scales is not None and scales.shape[1] * GROUP == codes.size // n, "blocks are whole groups"
        return Groups(codes=codes.reshape(n, -1), scales=scales, minimums=minimums)

    return read


def _blocks(type: BlockType, rows: np.ndarray) -> np.ndarray:
    """Rows of bytes as blocks (B,) of the type's layout."""
    return np.ascontiguousarray(rows).reshape(-1, type.n_bytes).view(type.layout)[:, 0]
