"""Damage for the fuzz tests of file formats, and a limit to the memory that reading a damaged file may take."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import strategies as st


@st.composite
def damaged(draw, data: bytes) -> bytes:
    """Up to three bytes of a file changed, many of them near its beginning or end, and perhaps its end cut off."""
    out = bytearray(data)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.one_of(st.integers(0, len(out) - 1), st.integers(0, 200), st.integers(-200, -1)))
        out[place % len(out)] = draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 255])))
    return bytes(out[: len(out) - draw(st.one_of(st.just(0), st.integers(0, len(out))))])


@contextmanager
def modest_memory(limit_bytes: int) -> Iterator[None]:
    """Fail where the block holds more than `limit_bytes` of what Python and numpy allocate at any time."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= limit_bytes, f"{peak} bytes were allocated, {limit_bytes} are allowed"
