"""Which tokens a step sees: a pure function of (seed, sample number), so a resumed run needs no reader state.

Samples are dealt to the sources in blocks of 1024 that hold each source in proportion to its weight. Within a source,
windows come in a shuffled order that covers all of it before any repeats; each round has its own order and offset.
Randomness is splitmix64 of counters, not a library's generator, so the order is the same with every numpy version.
"""

from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["Sampler"]

_BLOCK = 1024


class Sampler:
    """Windows of `length + 1` tokens from several sources. Raises ValueError where a source is shorter than that."""

    def __init__(self, sources: list[np.ndarray], weights: list[float], length: int, seed: int):
        for tokens in sources:
            if len(tokens) < 2 * length + 1:
                raise ValueError(f"a source has {len(tokens)} tokens, too few for windows of {length}")
        self.sources, self.length, self.seed = sources, length, seed
        self.slots = _deal(weights, seed)
        self.rank = np.array([np.sum(self.slots[:i] == s) for i, s in enumerate(self.slots)])
        self.share = np.bincount(self.slots, minlength=len(sources))

    def window(self, sample: int) -> np.ndarray:
        """int64 (length + 1,): inputs are all but the last token, targets all but the first."""
        block, slot = divmod(sample, _BLOCK)
        source = int(self.slots[slot])
        draw = block * int(self.share[source]) + int(self.rank[slot])
        tokens = self.sources[source]
        n_windows = (len(tokens) - 1 - self.length) // self.length
        lap, index = divmod(draw, n_windows)
        key = (self.seed, source, lap)
        start = int(_order(n_windows, key)[index]) * self.length + int(
            _hash(np.uint64(0), key) % np.uint64(self.length)
        )
        return tokens[start : start + self.length + 1].astype(np.int64)

    def batch(self, step: int, part: int, sequences: int, accumulate: int) -> np.ndarray:
        """int64 (sequences, length + 1): the `part`-th of `accumulate` equal parts of an optimiser step."""
        first = (step * accumulate + part) * sequences
        return np.stack([self.window(first + i) for i in range(sequences)])


def _deal(weights: list[float], seed: int) -> np.ndarray:
    """(1024,) source of each slot of a block: largest remainders, at least one slot each, then shuffled."""
    exact = np.asarray(weights) / sum(weights) * _BLOCK
    counts = np.maximum(1, exact.astype(int))
    while counts.sum() < _BLOCK:
        counts[np.argmax(exact - counts)] += 1
    while counts.sum() > _BLOCK:
        counts[np.argmax(counts - exact)] -= 1
    return np.repeat(np.arange(len(weights)), counts)[_order(_BLOCK, (seed, -1, 0))]


@lru_cache(maxsize=64)
def _order(n: int, key: tuple[int, int, int]) -> np.ndarray:
    """A permutation of range(n) that only the key decides."""
    return np.argsort(_hash(np.arange(n, dtype=np.uint64), key), kind="stable").astype(np.int64)


def _hash(counter: Any, key: tuple[int, int, int]) -> Any:
    """splitmix64 over the key's parts and the counter, a uint64 or an array of them (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        x = np.uint64(0)
        for part in (*key, 0):
            x = _mix(x + np.uint64(part & 0xFFFFFFFFFFFFFFFF))
        return _mix(x + counter)


def _mix(x):
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
