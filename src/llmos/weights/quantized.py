"""Matrices as small integers in groups of 32 columns: how they are held in memory on the way from a file to packed weights.

`Groups` is what the kernels' formats int8, int4 and uint4 are made of; `QuantizedTensor` is a matrix that a file stores in some
such way of its own (GGUF, GPTQ, AWQ, ...). Scales are float16 because those files' scales are: they survive exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["GROUP", "Groups", "QuantizedTensor", "widened"]

_ALSO = {"int4": ("uint4", "int8")}  # a format -> those that hold what it holds
GROUP = 32  # columns that share a scale; the last group of a row may have fewer


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Rows of codes with a scale, and perhaps a minimum, for each row and group of 32 columns.

    codes: (N, K), int8 or uint8 (0 to 15); scales: (N, ceil(K / 32)) float16; minimums: of the same shape or None. A value is
    code * scale (int8), (code - 8) * scale (uint8 without minimums), code * scale + minimum (uint8 with minimums).
    """

    codes: np.ndarray
    scales: np.ndarray
    minimums: np.ndarray | None = None

    def __post_init__(self):
        n, k = self.codes.shape
        assert self.codes.dtype in (np.int8, np.uint8), f"codes are {self.codes.dtype}, not int8 or uint8"
        assert self.minimums is None or self.codes.dtype == np.uint8, "int8 has no minimums"
        for part in (self.scales, self.minimums):
            if part is not None:
                assert part.shape == (n, -(-k // GROUP)) and part.dtype == np.float16, f"{part.dtype} {part.shape}"

    @property
    def format(self) -> str:
        """The weight format that holds them exactly: int8, int4 or uint4."""
        if self.codes.dtype == np.int8:
            return "int8"
        return "int4" if self.minimums is None else "uint4"

    @property
    def shape(self) -> tuple[int, int]:
        return self.codes.shape[0], self.codes.shape[1]

    def rows(self, start: int, stop: int) -> "Groups":
        """Rows start .. stop, as views."""
        minimums = None if self.minimums is None else self.minimums[start:stop]
        return Groups(codes=self.codes[start:stop], scales=self.scales[start:stop], minimums=minimums)

    @staticmethod
    def stacked(parts: "list[Groups]") -> "Groups":
        """The rows of all parts, which are of one format and width."""
        codes, scales = (np.concatenate(part) for part in ([p.codes for p in parts], [p.scales for p in parts]))
        minimums = [p.minimums for p in parts if p.minimums is not None]
        return Groups(codes=codes, scales=scales, minimums=np.concatenate(minimums) if minimums else None)

    def float32(self) -> np.ndarray:
        """The (N, K) values that they stand for."""
        k = self.codes.shape[1]
        values = self.codes.astype(np.float32)
        if self.format == "int4":
            values -= 8
        values *= _each_column(self.scales, k)
        if self.minimums is not None:
            values += _each_column(self.minimums, k)
        return values


@dataclass(frozen=True, kw_only=True)
class QuantizedTensor:
    """A matrix that is stored quantised, read when asked for.

    dtype: the stored kind, such as "q4_0"; shape: (N, K); where: file and name, for messages; keeps: the weight format whose
    groups hold it exactly or nearly, None where none does; fits: a format that it may be rounded to without being asked, since that
    loses little beside what its kind has lost, None for none. read_float32(start, stop) gives the values of rows as float32;
    read_groups(start, stop) the same rows as `Groups` of the format `keeps`, and is there where that is.
    """

    dtype: str
    shape: tuple[int, int]
    where: str
    read_float32: Callable[[int, int], np.ndarray]
    keeps: str | None = None
    fits: str | None = None
    read_groups: Callable[[int, int], Groups] | None = None
    first_row: int = 0

    def __post_init__(self):
        assert (self.keeps is None) == (self.read_groups is None), f"{self.where}: keeps {self.keeps} without a reader"

    def rows(self, start: int, stop: int) -> "QuantizedTensor":
        """The tensor of rows start .. stop; nothing is read yet."""
        assert 0 <= start <= stop <= self.shape[0], f"rows {start} to {stop} of {self.shape}"
        return replace(self, shape=(stop - start, self.shape[1]), first_row=self.first_row + start)

    @property
    def formats(self) -> tuple[str, ...]:
        """The weight formats that hold it, the smallest first (see `widened`)."""
        return () if self.keeps is None else (self.keeps, *_ALSO.get(self.keeps, ()))

    def float32(self) -> np.ndarray:
        """The values as float32 (N, K)."""
        return self.read_float32(self.first_row, self.first_row + self.shape[0])

    def groups(self) -> Groups:
        """Codes and scales in the format `keeps`, which must not be None."""
        assert self.read_groups is not None, f"{self.where} is {self.dtype}, which no format keeps"
        groups = self.read_groups(self.first_row, self.first_row + self.shape[0])
        assert groups.format == self.keeps and groups.shape == self.shape, (
            f"{self.where}: {groups.format} {groups.shape}"
        )
        return groups


def widened(tensor: QuantizedTensor, format: str) -> QuantizedTensor:
    """The tensor keeping `format` where that holds what it keeps: uint4 and int8 hold int4. Otherwise the tensor itself."""
    read = tensor.read_groups
    if tensor.keeps is None or format not in _ALSO.get(tensor.keeps, ()) or read is None:
        return tensor
    return replace(tensor, keeps=format, read_groups=lambda start, stop: _widen(read(start, stop), format))


def _widen(groups: Groups, format: str) -> Groups:
    """int4 groups as uint4 or int8, exactly; a minimum beyond float16 becomes infinite, which whoever packs refuses."""
    if format == "int8":
        return Groups(codes=groups.codes.astype(np.int8) - np.int8(8), scales=groups.scales)
    with np.errstate(over="ignore"):
        return Groups(codes=groups.codes, scales=groups.scales, minimums=groups.scales * np.float16(-8))


def _each_column(of_groups: np.ndarray, columns: int) -> np.ndarray:
    return np.repeat(of_groups.astype(np.float32), GROUP, axis=1)[:, :columns]
