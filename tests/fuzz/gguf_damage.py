"""Damage to GGUF files: any number of the head (counts, lengths, types, values, dimensions, offsets), fields twice or gone.

The walk over the head is written from the format's description, apart from the reader that it tests.
"""

import random
import struct
from collections.abc import Iterator

from tests.fuzz.number_damage import bytes_damaged, one_number

__all__ = ["gguf_damaged"]

Span = tuple[int, int]
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def gguf_damaged(rng: random.Random, data: bytes) -> bytes:
    numbers, fields, texts, end = _walk(data)
    kind = rng.randrange(10)
    if kind == 0:
        return data[:end] + bytes_damaged(rng, data[end:])
    if kind == 1:
        start, stop = rng.choice(fields)
        return _fields_counted(data[:stop] + data[start:stop] + data[stop:], 1)
    if kind == 2:
        start, stop = rng.choice(fields)
        return _fields_counted(data[:start] + data[stop:], -1)
    if kind == 3:
        at, size = rng.choice(texts)
        new = rng.choice([b"", b"\xff\xfe", b"x", b"a" * 70_000, b"\0", b"general.alignment", b"tokenizer.ggml.model"])
        return data[:at] + struct.pack("<Q", len(new)) + new + data[at + 8 + size :]
    return one_number(rng, data, numbers)


def _fields_counted(data: bytes, more: int) -> bytes:
    """The count of fields changed to what there are."""
    return data[:16] + struct.pack("<Q", int.from_bytes(data[16:24], "little") + more) + data[24:]


def _walk(data: bytes) -> tuple[list[Span], list[Span], list[Span], int]:
    """Numbers of the head (offset, size), its fields (start, stop), its texts (offset, length), and where it ends."""
    tensors, n_fields = struct.unpack_from("<QQ", data, 8)
    if tensors > 1000 or n_fields > 1000:
        raise ValueError("damaged already")
    numbers, fields, texts, at = [(4, 4), (8, 8), (16, 8)], [], [], 24

    def text() -> None:
        nonlocal at
        n = int.from_bytes(data[at : at + 8], "little")
        if n > len(data):
            raise ValueError("damaged already")
        numbers.append((at, 8))
        texts.append((at, n))
        at += 8 + n

    def number(size: int) -> int:
        nonlocal at
        numbers.append((at, size))
        at += size
        return int.from_bytes(data[at - size : at], "little")

    for _ in range(n_fields):
        start = at
        text()
        kind = number(4)
        for each in _values(kind, number):
            text() if each == 8 else number(_SIZES[each])
        fields.append((start, at))
    for _ in range(tensors):
        text()
        for _ in range(min(number(4), 8)):
            number(8)
        number(4), number(8)
    return numbers, fields, texts, at


def _values(kind: int, number) -> Iterator[int]:
    """The types of the values of a field; of a long list the first ones, then those that only have to be passed."""
    if kind != 9:
        yield kind
        return
    inner, n = number(4), number(8)
    if n > 100_000:
        raise ValueError("damaged already")
    yield from (inner for _ in range(n))
