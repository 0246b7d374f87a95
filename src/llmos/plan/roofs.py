"""What a machine can do at most, and what the kernels of LLMOS make of it: plain data, measured by `llmos.api`.

A roof bounds: an operation takes at least its bytes over the bandwidth of memory and its arithmetic over the peak of its number
format. `Kernels` predicts: it has the times that the kernels took a moment ago at a few sizes, with waiting threads and Python.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Kernels", "Roofs"]


@dataclass(frozen=True, kw_only=True)
class Roofs:
    """What the machine reached a moment ago, with `threads` threads together. An operation is a multiply or an add.

    cache_bytes_per_s: reads from the last cache, None where it was not measured.
    """

    target: str
    threads: int
    read_bytes_per_s: float
    float32_ops_per_s: float
    bf16_ops_per_s: float
    int8_ops_per_s: float
    cache_bytes_per_s: float | None = None

    def peak(self, format: str) -> float:
        """Operations per second of the products that a weight format is computed with."""
        if format == "bf16":
            return self.bf16_ops_per_s
        return self.int8_ops_per_s if format in ("int8", "int4", "uint4") else self.float32_ops_per_s


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """Times of the kernels with weights and stored keys and values in two formats, on `threads` threads.

    cached: (columns, tokens) -> seconds for each packed byte of a matrix that lies in a cache; memory: the same for one in
    memory, for few tokens, since more work than wait; kept: bytes of all weights -> share that the caches keep between two steps.
    page_s: head size -> seconds of one thread for a query head and a cached page of keys and values, query_s: for the head whatever
    it reads; stored_s: what a byte of pages takes more that comes from memory. append: head size -> seconds of one thread for
    turning and storing a key/value head of a token, with the queries that share it. row_s: kind of operation on rows -> seconds of one thread for a value. join_s: seconds
    until the threads have met. decode_s: seconds of a step outside of the model with `batch` sequences that decode, prompt_s: with
    256 tokens of a prompt.
    """

    weights: str
    kv: str
    threads: int
    batch: int
    cached: Mapping[tuple[int, int], float]
    memory: Mapping[tuple[int, int], float]
    kept: Mapping[int, float]
    page_s: Mapping[int, float]
    query_s: Mapping[int, float]
    append: Mapping[int, float]
    stored_s: float
    row_s: Mapping[str, float]
    join_s: float
    decode_s: float
    prompt_s: float

    def product_s(self, n_bytes: float, columns: int, tokens: int, in_cache: float) -> float:
        """Seconds of a product of `tokens` rows with a packed matrix. in_cache: the share of it that the last cache holds."""
        here = _within(self.cached, columns, tokens)
        known = min(tokens, max(t for _, t in self.memory))
        waits = max(0.0, _within(self.memory, columns, known) - _within(self.cached, columns, known))
        return n_bytes * (here + (1 - in_cache) * waits)

    def in_cache(self, n_bytes: float) -> float:
        """Share of weights that caches keep when all of them are read again and again."""
        return _between(self.kept, n_bytes) if n_bytes <= max(self.kept) else 0.0

    def attention_s(self, head_dim: int, pages: float) -> float:
        """Seconds of one thread for a query head that reads so many pages which lie in a cache."""
        return pages * _between(self.page_s, head_dim, beyond=True) + _between(self.query_s, head_dim, beyond=True)

    def append_s(self, head_dim: int) -> float:
        """Seconds of one thread for turning and storing a key/value head of a token."""
        return _between(self.append, head_dim, beyond=True)


def _within(known: Mapping[tuple[int, int], float], columns: int, tokens: int) -> float:
    """Linear interpolation over tokens, then over columns; outside of what is known the nearest."""
    sizes = {column for column, _ in known}
    return _between({c: _between({t: s for (k, t), s in known.items() if k == c}, tokens) for c in sizes}, columns)


def _between(known: Mapping[int, float], at: float, beyond: bool = False) -> float:
    """Linear interpolation; outside of what is known the nearest, or with `beyond` the line of the nearest two."""
    points = sorted(known)
    if not beyond:
        at = min(max(at, points[0]), points[-1])
    if len(points) == 1:
        return known[points[0]]
    i = next((i for i in range(1, len(points)) if at <= points[i]), len(points) - 1)
    low, high = points[i - 1], points[i]
    value = known[low] + (known[high] - known[low]) * (at - low) / (high - low)
    return max(value, min(known.values()) * at / points[0]) if at < points[0] else value
