"""The fields of a protobuf message, as far as SentencePiece models use them, with every length checked before it is believed.

Source: https://protobuf.dev/programming-guides/encoding. Numbers and lengths are varints of at most ten bytes. Groups, which
were given up long ago, are refused. A message costs memory in proportion to its own size, whatever it claims.
"""

from collections.abc import Iterator
from pathlib import Path

from llmos.core.errors import FormatError

__all__ = ["fields"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fields(data: memoryview, where: str | Path, base: int = 0) -> Iterator[tuple[int, int | memoryview, int]]:
    """(number, value, offset of the value) of each field: a varint as int, everything else as its bytes.

    base: offset of the message in its file, for errors. Raises FormatError naming `where` and the offset.
    """
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at, where, base)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise FormatError(where, "is no protobuf message: a field has number 0", offset=base + start)
        if kind == _VARINT:
            value, end = _varint(data, at, where, base)
            yield number, value, base + at
        elif kind in (_FIXED32, _FIXED64, _BYTES):
            size = {_FIXED32: 4, _FIXED64: 8}.get(kind)
            if size is None:
                size, at = _varint(data, at, where, base)
            end = at + size
            if end > len(data):
                raise FormatError(
                    where, f"field {number} claims {size} bytes, {len(data) - at} are left", offset=base + at
                )
            yield number, data[at:end], base + at
        else:
            raise FormatError(where, f"field {number} is of an unknown kind {kind}", offset=base + start)
        at = end


def _varint(data: memoryview, at: int, where: str | Path, base: int) -> tuple[int, int]:
    """The number at a place, below 2**64, and where it ends."""
    value = 0
    for n in range(10):
        if at + n >= len(data):
            raise FormatError(where, "ends in the middle of a number", offset=base + len(data))
        byte = data[at + n]
        value |= (byte & 0x7F) << (7 * n)
        if byte < 0x80:
            return value & (2**64 - 1), at + n + 1
    raise FormatError(where, "a number has more than ten bytes", offset=base + at)
