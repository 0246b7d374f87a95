"""Damage to bytes and to the numbers in them."""

import random

__all__ = ["bytes_damaged", "extreme", "one_number"]

Span = tuple[int, int]  # offset and size of a little-endian number


def extreme(rng: random.Random, n_bytes: int) -> int:
    """A number at an edge: of its own width, of signs, of 32 and 62 bits, of what memory could be."""
    most = 1 << (8 * n_bytes)
    near = rng.choice(
        [0, 1, 2, 3, most - 1, most // 2, most // 2 - 1, 2**31, 2**32, 2**40, 2**60, 2**62, 2**63, 100, 65536]
    )
    return (near + rng.choice([0, 0, 0, -1, 1])) % most


def one_number(rng: random.Random, data: bytes, places: list[Span]) -> bytes:
    """One of the numbers at an extreme, or changed a little."""
    at, size = rng.choice(places)
    old = int.from_bytes(data[at : at + size], "little")
    new = extreme(rng, size) if rng.random() < 0.6 else (old + rng.choice([-2, -1, 1, 2, 8])) % (1 << (8 * size))
    return data[:at] + new.to_bytes(size, "little") + data[at + size :]


def bytes_damaged(rng: random.Random, data: bytes) -> bytes:
    """Flipped, cut, extended, spliced, repeated, or with a number at an extreme anywhere."""
    if not data:
        return rng.randbytes(rng.randrange(40))
    a, b = sorted((_place(rng, data), _place(rng, data)))
    kind = rng.randrange(7)
    if kind == 0:
        return data[:a] + bytes([data[a] ^ (1 << rng.randrange(8))]) + data[a + 1 :]
    if kind == 1:
        return data[:a]
    if kind == 2:
        return data + rng.randbytes(rng.randrange(1, 64))
    if kind == 3:
        return data[:a] + data[b:]
    if kind == 4:
        return data[:b] + data[a:]
    if kind == 5:
        return data[:a] + rng.choice([b"\0", b"\xff", b"\x80", b"\xc3"]) * rng.choice([1, 4, 8, 100]) + data[a:]
    size = rng.choice([1, 2, 4, 8])
    return one_number(rng, data, [(min(a, max(len(data) - size, 0)), size)])


def _place(rng: random.Random, data: bytes) -> int:
    """Anywhere, often near the beginning or the end."""
    edge = min(len(data), 200)
    return rng.choice([rng.randrange(len(data)), rng.randrange(edge), len(data) - 1 - rng.randrange(edge)])
