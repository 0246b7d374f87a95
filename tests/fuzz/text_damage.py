"""Damage to files of lines: lines exchanged, doubled, taken out, long, without their parts, or no text."""

import random

__all__ = ["lines_damaged"]


def lines_damaged(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(7)
    if kind == 0:
        lines[a], lines[b] = lines[b], lines[a]
    elif kind == 1:
        del lines[a]
    elif kind == 2:
        lines[a:a] = [lines[b]] * rng.choice([1, 2, 500])
    elif kind == 3:
        lines[a] = rng.choice([b"", b" ", b"\xff\xfe", b"a" * 100_000, b"a b c", b"\r", b"#", b"\0", "é".encode()])
    elif kind == 4:
        lines[a] = lines[a].replace(b" ", rng.choice([b"", b"  ", b"\t"]))
    elif kind == 5:
        lines[a] = lines[a] + rng.choice([b" 99999999999999999999", b" -1", b"=", b" x", b"\x80"])
    else:
        place = rng.randrange(len(lines[a]) + 1)
        lines[a] = lines[a][:place] + bytes([rng.randrange(256)]) + lines[a][place + 1 :]
    return b"\n".join(lines)
