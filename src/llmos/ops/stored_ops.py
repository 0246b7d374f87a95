"""The definition over matrices as they are stored: float32, a block of rows at a time, so that no matrix is in memory whole."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from llmos.models import Attention, Experts
from llmos.ops.numpy_ops import NumpyOps

__all__ = ["StoredMatrix", "StoredOps"]

_BLOCK_BYTES = 32 << 20  # of float32 values that are made at once


class StoredMatrix(Protocol):
    """A matrix in a file: `rows(start, stop)` are such a matrix, `float32()` are the values of all its rows."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def rows(self, start: int, stop: int) -> "StoredMatrix": ...

    def float32(self) -> np.ndarray: ...


class StoredOps(NumpyOps):
    """`NumpyOps` whose matrices are `StoredMatrix` objects and whose vectors are float32 arrays."""

    def rows(self, table: StoredMatrix, ids: Sequence[int]) -> np.ndarray:
        return np.concatenate([table.rows(int(id), int(id) + 1).float32() for id in ids])

    def add_first_row(self, x: np.ndarray, table: StoredMatrix) -> np.ndarray:
        return x + table.rows(0, 1).float32()

    def linear(self, x: np.ndarray, w: StoredMatrix, b: np.ndarray | None) -> np.ndarray:
        y = np.concatenate([x @ block.T for block in _blocks(w)], axis=-1)
        return y if b is None else y + b

    def attention(self, q: Any, k: Any, v: Any, positions: Any, a: Attention, biases: Any = None) -> np.ndarray:
        out = super().attention(q, k, v, positions, a, None if biases is None else biases.float32())
        return out.astype(np.float32)

    def experts(self, x: np.ndarray, scores: np.ndarray, gates: Any, ups: Any, downs: Any, m: Experts) -> np.ndarray:
        """As the definition chooses and weighs; every expert is read once, for all tokens that chose it."""
        chosen, kept = self.routes(scores, m)
        out = np.zeros_like(x)
        for e in np.unique(chosen):
            tokens, ranks = np.nonzero(chosen == e)
            hidden = self.act(self.linear(x[tokens], gates[e], None), m.act) * self.linear(x[tokens], ups[e], None)
            out[tokens] += kept[tokens, ranks, None] * self.linear(hidden, downs[e], None)
        return out


def _blocks(w: StoredMatrix) -> Iterator[np.ndarray]:
    step = max(1, _BLOCK_BYTES // (4 * w.shape[1]))
    for start in range(0, w.shape[0], step):
        yield w.rows(start, min(start + step, w.shape[0])).float32()
