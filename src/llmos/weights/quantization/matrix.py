"""A matrix of integers with a scale and a zero point for each row and group of columns, and the format of ours that keeps it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llmos.core.errors import FormatError
from llmos.weights.quantized import GROUP, Groups, QuantizedTensor

__all__ = ["Stored", "as_tensor"]

_NEARLY = 2.0**-11  # relative error of a scale that float16 rounds
_CHUNK_ROWS = 4096

Rows = Callable[[int, int], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """value[n, k] = (codes[n, k] - zeros[n, g]) * scales[n, g] with g = group_of[k].

    The three readers give rows start .. stop: codes uint8 (n, K), below 2**bits; zeros integers (n, G), or None for a fixed
    `zero`; scales float (n, G). group_of: (K,). dtype: what the file calls it; where: file and module.
    """

    dtype: str
    where: str
    shape: tuple[int, int]
    bits: int
    zero: int
    group_of: np.ndarray
    codes: Rows
    scales: Rows
    zeros: Rows | None = None

    def float32(self, start: int, stop: int) -> np.ndarray:
        """Rows as float32, computed as the reference implementations do, in float32."""
        scales = self.scales(start, stop).astype(np.float32)
        codes = self.codes(start, stop)
        zeros = (
            np.float32(self.zero) if self.zeros is None else self._spread(self.zeros(start, stop).astype(np.float32))
        )
        values = codes.astype(np.float32)
        values -= zeros
        values *= self._spread(scales)
        return values

    def groups(self, format: str, start: int, stop: int) -> Groups:
        """Rows in `format`, which `_keeps` has found."""
        first = self.group_of[::GROUP]
        scales, codes = self.scales(start, stop)[:, first].astype(np.float32), self.codes(start, stop)
        rounded = scales.astype(np.float16)
        if format == "int8":
            return Groups(codes=(codes ^ 0x80).view(np.int8), scales=rounded)
        if format == "int4":
            return Groups(codes=codes, scales=rounded)
        zeros = np.full(scales.shape, self.zero) if self.zeros is None else self.zeros(start, stop)[:, first]
        zeros = zeros.astype(np.float32)
        return Groups(codes=codes, scales=rounded, minimums=(-zeros * scales).astype(np.float16))

    def _spread(self, of_groups: np.ndarray) -> np.ndarray:
        """(n, G) to (n, K)."""
        return of_groups[:, self.group_of] if of_groups.shape[1] > 1 else of_groups


def as_tensor(stored: Stored) -> QuantizedTensor:
    """The matrix, read when asked for. Its scales and zero points are read here. Raises FormatError for scales that are no numbers."""
    keeps = _keeps(stored)
    read_groups = None if keeps is None else lambda start, stop: stored.groups(keeps, start, stop)
    return QuantizedTensor(
        dtype=stored.dtype,
        shape=stored.shape,
        where=stored.where,
        read_float32=stored.float32,
        keeps=keeps,
        read_groups=read_groups,
    )


def _keeps(stored: Stored) -> str | None:
    """int4 and int8 hold what is symmetric, uint4 the rest of 4 bits, all where 32 columns share a group and float16 the scales."""
    scales_fit, symmetric = True, True
    for start in range(0, stored.shape[0], _CHUNK_ROWS):
        stop = min(start + _CHUNK_ROWS, stored.shape[0])
        scales = stored.scales(start, stop).astype(np.float32)
        if not np.isfinite(scales).all():
            raise FormatError(stored.where, "has scales that are NaN or infinite: the checkpoint is damaged")
        scales_fit &= _fit_float16(scales, 2**stored.bits)
        if stored.zeros is not None:
            symmetric &= bool((stored.zeros(start, stop) == 2 ** (stored.bits - 1)).all())
    symmetric &= stored.zeros is not None or stored.zero == 2 ** (stored.bits - 1)
    if not scales_fit or not _whole_groups(stored.group_of):
        return None
    if stored.bits == 8:
        return "int8" if symmetric else None
    return "int4" if symmetric else "uint4"


def _fit_float16(scales: np.ndarray, steps: int) -> bool:
    """Whether float16 holds scales, and minimums of that many steps, nearly."""
    with np.errstate(over="ignore"):
        error = np.abs(scales.astype(np.float16).astype(np.float32) - scales)
    return bool((error <= _NEARLY * np.abs(scales)).all() and (np.abs(scales) * steps < 65504).all())


def _whole_groups(group_of: np.ndarray) -> bool:
    """Whether each 32 columns share a group (the last may be fewer)."""
    whole = len(group_of) // GROUP * GROUP
    blocks, tail = group_of[:whole].reshape(-1, GROUP), group_of[whole:]
    return bool((blocks == blocks[:, :1]).all() and (tail == tail[:1]).all())
