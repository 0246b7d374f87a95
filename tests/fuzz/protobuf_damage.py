"""Damage to protobuf messages: numbers, lengths and tags at extremes, fields twice, gone or of another kind, messages in messages."""

import random

from tests.fuzz.number_damage import bytes_damaged, extreme

__all__ = ["protobuf_damaged"]

Field = tuple[int, int, int, int]  # start, number << 3 | kind, start of the value, stop


def protobuf_damaged(rng: random.Random, data: bytes, depth: int = 0) -> bytes:
    fields = _fields(data)
    start, tag, value, stop = rng.choice(fields[-12:] if rng.random() < 0.5 else fields)
    kind, wire = rng.randrange(8), tag & 7
    if wire == 2 and depth == 0 and kind < 4:
        inner = protobuf_damaged(rng, data[value:stop], 1) if kind < 3 else bytes_damaged(rng, data[value:stop])
        return data[:start] + _varint(tag) + _varint(len(inner)) + inner + data[stop:]
    if kind == 4:
        return data[:stop] + data[start:stop] + data[stop:]
    if kind == 5:
        return data[:start] + data[stop:]
    if kind == 6:
        other = tag ^ rng.choice([1, 2, 3, 5, 7, 8, 16])
        return data[:start] + _varint(other) + data[start + len(_varint(tag)) :]
    number = _varint(extreme(rng, 8)) if rng.random() < 0.9 else b"\xff" * rng.choice([10, 11, 40])
    if wire == 2:
        return data[:start] + _varint(tag) + number + data[value:]
    new = number if wire == 0 else extreme(rng, stop - value).to_bytes(stop - value, "little")
    return data[:start] + _varint(tag) + new + data[stop:]


def _fields(data: bytes) -> list[Field]:
    out, at = [], 0
    while at < len(data):
        start = at
        tag, at = _number(data, at)
        wire = tag & 7
        if wire == 0:
            value, (_, at) = at, _number(data, at)
        else:
            size = {1: 8, 5: 4}.get(wire)
            if size is None:
                size, at = _number(data, at)
            value, at = at, at + size
        if at > len(data):
            raise ValueError("damaged already")
        out.append((start, tag, value, at))
    return out


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
