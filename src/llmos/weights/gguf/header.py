"""The head of a GGUF file: metadata and the table of tensors. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

Versions 2 and 3, little endian. Nothing that is claimed is believed before it is checked: a count against the bytes that are
left and against what a model can have, so that no claim costs more memory or time than the file's own size gives reason for.
"""

import itertools
import math
import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmos.core.errors import FormatError
from llmos.weights.gguf.blocks import BLOCKS, PLAIN, type_name

__all__ = ["Entry", "Header", "read_header"]

_VERSIONS = (2, 3)
_MOST_FIELDS = 1 << 16
_MOST_TENSORS = 1 << 20
_MOST_TEXTS = 1 << 22  # of all lists together: the largest vocabularies have 2**18 tokens, and twice as many merges
_MOST_HEADER_BYTES = 1 << 28
_LONGEST_NAME = 1 << 16
_MOST_DIMENSIONS = 4
_DEFAULT_ALIGNMENT, _LARGEST_ALIGNMENT = 32, 1 << 20

_NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "<u1",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_BOOL, _TEXT, _LIST = 7, 8, 9

_Row = tuple[int, tuple[int, ...], int]  # type, shape and offset of a tensor, as the table has them


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A tensor of the table. type: ggml's number; shape: rows first, as numpy has it; start, n_bytes: in the file."""

    name: str
    type: int
    shape: tuple[int, ...]
    start: int
    n_bytes: int

    @property
    def n_parts(self) -> int:
        """Matrices that are stacked in it, where it has three axes."""
        return self.shape[0] if len(self.shape) == 3 else 1


@dataclass(frozen=True, kw_only=True)
class Header:
    """metadata: key -> number, truth value, text, list of texts, or numpy array of numbers."""

    version: int
    metadata: Mapping[str, Any]
    entries: Mapping[str, Entry]


def read_header(data: mmap.mmap, path: Path) -> Header:
    """The head of a mapped file. Raises FormatError, with the place, for anything that a GGUF file cannot have."""
    return _Reader(data, path).header()


class _Reader:
    """Reads from front to back. at: the next byte."""

    def __init__(self, data: mmap.mmap, path: Path):
        self.data, self.path, self.at, self.texts = data, path, 0, 0
        self.end = len(data)

    def header(self) -> Header:
        version = self._version()
        n_tensors, n_fields = self._count("tensors", _MOST_TENSORS, 24), self._count("fields", _MOST_FIELDS, 13)
        metadata = self._unique("field", n_fields, self._field)
        rows = self._unique("tensor", n_tensors, self._tensor)
        alignment = self._alignment(metadata)
        data_start = -(-self.at // alignment) * alignment
        entries = {name: self._entry(name, row, data_start, alignment) for name, row in rows.items()}
        _check_overlaps(self.path, entries)
        return Header(version=version, metadata=metadata, entries=entries)

    def _version(self) -> int:
        if self.data[:4] != b"GGUF":
            raise FormatError(self.path, "is no GGUF file: it does not begin with GGUF", offset=0)
        self.at = 4
        version = self._number("<I")
        if version in _VERSIONS:
            return version
        if version & 0xFFFF == 0:
            raise self._bad("is a big-endian GGUF file; little-endian ones are read", 4)
        raise self._bad(f"is GGUF of version {version}; versions 2 and 3 are read: convert it again", 4)

    def _unique(self, what: str, n: int, read: Callable[[], tuple[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for _ in range(n):
            start = self.at
            name, value = read()
            if name in out:
                raise self._bad(f"{what} {name!r} is there twice", start)
            out[name] = value
        return out

    def _field(self) -> tuple[str, Any]:
        name = self._text(_LONGEST_NAME)
        return name, self._value(self._number("<I"), name)

    def _value(self, kind: int, name: str) -> Any:
        if kind == _TEXT:
            return self._text(_MOST_HEADER_BYTES)
        if kind == _LIST:
            return self._list(name)
        values = self._numbers(kind, 1, name)
        return values[0].item()

    def _list(self, name: str) -> Any:
        kind = self._number("<I")
        if kind == _LIST:
            raise self._bad(f"field {name!r} is a list of lists, which no model has")
        if kind != _TEXT:
            if kind not in _NUMBERS:
                raise self._bad(f"field {name!r} is a list of unknown type {kind}")
            n = self._count(f"numbers in {name!r}", _MOST_HEADER_BYTES, np.dtype(_NUMBERS[kind]).itemsize)
            return self._numbers(kind, n, name)
        n = self._count(f"texts in {name!r}", _MOST_TEXTS - self.texts, 8)
        self.texts += n
        return [self._text(_MOST_HEADER_BYTES) for _ in range(n)]

    def _numbers(self, kind: int, n: int, name: str) -> np.ndarray:
        if kind not in _NUMBERS:
            raise self._bad(f"field {name!r} has the unknown type {kind}")
        start, dtype = self.at, np.dtype(_NUMBERS[kind])
        values = np.frombuffer(self._take(n * dtype.itemsize), dtype)
        if kind != _BOOL:
            return values
        if (values > 1).any():
            raise self._bad(f"field {name!r} holds {values.max()} where only true (1) and false (0) can stand", start)
        return values.astype(bool)

    def _tensor(self) -> tuple[str, _Row]:
        name = self._text(_LONGEST_NAME)
        n_dimensions = self._number("<I")
        if not 1 <= n_dimensions <= _MOST_DIMENSIONS:
            raise self._bad(f"tensor {name!r} claims {n_dimensions} dimensions; 1 to {_MOST_DIMENSIONS} are possible")
        dimensions = [self._number("<Q") for _ in range(n_dimensions)]
        return name, (self._number("<I"), tuple(reversed(dimensions)), self._number("<Q"))

    def _entry(self, name: str, row: _Row, start: int, alignment: int) -> Entry:
        kind, shape, offset = row

        def bad(problem: str) -> FormatError:
            return FormatError(self.path, f"tensor {name!r} {problem}")

        if kind not in PLAIN and kind not in BLOCKS:
            known = ", ".join(map(type_name, sorted([*PLAIN, *BLOCKS])))
            raise bad(f"is of type {type_name(kind)}, which is not supported; known: {known}")
        if min(shape) < 1 or math.prod(shape) >= 2**62:
            raise bad(f"claims the shape {list(shape)}, which is none")
        values, n_bytes = _block_size(kind)
        if shape[-1] % values:
            raise bad(f"has rows of {shape[-1]} values, which blocks of {values} ({type_name(kind)}) do not fill")
        size = math.prod(shape) // values * n_bytes
        if offset % alignment:
            raise bad(f"begins at {offset}, which is no multiple of the alignment {alignment}")
        if start + offset + size > self.end:
            raise FormatError(
                self.path,
                f"tensor {name!r} ends at byte {start + offset + size}, the file at {self.end}: cut off or damaged",
                offset=self.end,
            )
        return Entry(name=name, type=kind, shape=shape, start=start + offset, n_bytes=size)

    def _alignment(self, metadata: dict[str, Any]) -> int:
        value = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if type(value) is not int or not 1 <= value <= _LARGEST_ALIGNMENT or value & (value - 1):
            raise FormatError(self.path, f"general.alignment is {value!r}, which is no power of two")
        return value

    def _count(self, what: str, most: int, each_bytes: int) -> int:
        """A count of things that take at least `each_bytes` each."""
        start, n = self.at, self._number("<Q")
        if n > most or n * each_bytes > self.end - self.at:
            raise self._bad(f"claims {n} {what}, which do not fit into it: cut off or damaged", start)
        return n

    def _text(self, longest: int) -> str:
        start, n = self.at, self._number("<Q")
        if n > longest:
            raise self._bad(f"claims a text of {n} bytes: damaged", start)
        try:
            return self._take(n).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._bad("holds text that is not UTF-8", start + 8 + error.start) from error

    def _number(self, code: str) -> int:
        return struct.unpack(code, self._take(struct.calcsize(code)))[0]

    def _take(self, n: int) -> bytes:
        start = self.at
        if n > self.end - start:
            raise self._bad(f"ends at byte {self.end} inside its header: cut off or damaged", start)
        if start + n > _MOST_HEADER_BYTES:
            raise self._bad(f"has a header of more than {_MOST_HEADER_BYTES} bytes, which no model needs", start)
        self.at += n
        return self.data[start : self.at]

    def _bad(self, problem: str, at: int | None = None) -> FormatError:
        return FormatError(self.path, problem, offset=self.at if at is None else at)


def _block_size(kind: int) -> tuple[int, int]:
    """Values and bytes of the smallest piece of a row."""
    if kind in PLAIN:
        return 1, np.dtype(PLAIN[kind][1]).itemsize
    return BLOCKS[kind].values, BLOCKS[kind].n_bytes


def _check_overlaps(path: Path, entries: Mapping[str, Entry]) -> None:
    spans = sorted((entry.start, entry.start + entry.n_bytes, name) for name, entry in entries.items())
    for (_, end, first), (start, _, second) in itertools.pairwise(spans):
        if start < end:
            raise FormatError(path, f"tensors {first!r} and {second!r} overlap", offset=start)
