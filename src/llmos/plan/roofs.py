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

    cached: (columns, tokens) -> seconds for each packed byte of a matrix that lies in the last cache, of cache_bytes; memory:
    tokens -> the same for one in memory, of 1024 columns. page_s: head size -> seconds of one thread for a query head and a page of
    keys and values. row_s: kind of operation on rows -> seconds of one thread for a value. join_s: seconds until the threads
    have met. decode_s: seconds of a step outside of the model with `batch` sequences that decode, prompt_s: with 256 tokens of a
    prompt.
    """

    weights: str
    kv: str
    threads: int
    batch: int
    cache_bytes: int
    cached: Mapping[tuple[int, int], float]
    memory: Mapping[int, float]
    page_s: Mapping[int, float]
    row_s: Mapping[str, float]
    join_s: float
    decode_s: float
    prompt_s: float

    def product_s(self, n_bytes: float, columns: int, tokens: int, in_cache: float) -> float:
        """Seconds of a product of `tokens` rows with a packed matrix. in_cache: the share of it that the last cache holds."""
        here = self._cached(columns, tokens)
        shortest = min(column for column, _ in self.cached)
        known = min(tokens, max(self.memory))
        waits = max(
            0.0, _between(self.memory, known) - self._cached(shortest, known)
        )  # for memory, beyond the work itself
        return n_bytes * (here + (1 - in_cache) * waits)

    def in_cache(self, n_bytes: float) -> float:
        """Share of weights that stay in the last cache when all of them are read again and again.

        Half of the cache is believed in: the rest holds activations, and neighbours of a virtual machine share it.
        """
        return min(1.0, max(0.0, 2 - 2 * n_bytes / self.cache_bytes)) if self.cache_bytes else 0.0

    def attention_s(self, head_dim: int, pages: float) -> float:
        """Seconds of one thread for a query head that reads so many pages."""
        return pages * _between(self.page_s, head_dim, beyond=True)

    def _cached(self, columns: int, tokens: int) -> float:
        by_columns = {}
        for column in {column for column, _ in self.cached}:
            by_columns[column] = _between({t: s for (c, t), s in self.cached.items() if c == column}, tokens)
        return _between(by_columns, columns)


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
    return max(value, min(known.values()) * min(1.0, at / points[0]))
