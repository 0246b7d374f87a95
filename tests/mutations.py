"""Damage for the fuzz tests of file formats, and a limit to the memory that reading a damaged file may take."""

import copy
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import strategies as st


@st.composite
def damaged(draw, data: bytes) -> bytes:
    """Up to three bytes of a file changed, many of them near its beginning or end, and perhaps its end cut off."""
    out = bytearray(data)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.one_of(st.integers(0, len(out) - 1), st.integers(0, 200), st.integers(-200, -1)))
        out[place % len(out)] = draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 255])))
    return bytes(out[: len(out) - draw(st.one_of(st.just(0), st.integers(0, len(out))))])


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def replaced(draw, document: Any) -> Any:
    """A JSON document with another value in one place; places near the top are likelier."""
    document = copy.deepcopy(document)
    node, key = document, draw(st.sampled_from(_keys(document)))
    while isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
        node = node[key]
        key = draw(st.sampled_from(_keys(node)))
    node[key] = draw(JSON)
    return document


def _keys(node: dict[str, Any] | list[Any]) -> list[Any]:
    return sorted(node) if isinstance(node, dict) else list(range(len(node)))


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
