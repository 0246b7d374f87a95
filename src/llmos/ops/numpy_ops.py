"""What every operation means, in numpy. Used as the definition in tests and as the interpreter of compiler graphs.

Works in the dtype of its inputs (float64 in the tests). Axes as in `models.forward`.
"""

import math
from collections.abc import Sequence

import numpy as np

from llmos.models import Rope, inverse_frequencies

__all__ = ["NumpyOps"]


class NumpyOps:
    """The operations for one sequence whose tokens attend to those of smaller or equal position.

    outputs: the token rows whose scores are wanted; None for all.
    """

    def __init__(self, outputs: Sequence[int] | None = None):
        self.outputs = outputs

    def layer(self, index, block, x):
        return block(x)

    def rows(self, table, ids):
        return table[np.asarray(ids)]

    def add(self, a, b):
        return a + b

    def mul(self, a, b):
        return a * b

    def linear(self, x, w, b):
        y = x @ w.T
        return y if b is None else y + b

    def rms_norm(self, x, scale, eps):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * scale

    def layer_norm(self, x, scale, bias, eps):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + eps) * scale + bias

    def split_heads(self, x, n):
        return x.reshape(*x.shape[:-1], n, -1)

    def merge_heads(self, x):
        return x.reshape(*x.shape[:-2], -1)

    def rope(self, x, positions, rope: Rope):
        half = x.shape[-1] // 2
        angle = np.asarray(positions)[..., None, None] * np.array(inverse_frequencies(rope, x.shape[-1]))
        c, s = np.cos(angle).astype(x.dtype), np.sin(angle).astype(x.dtype)
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * c - b * s, b * c + a * s], -1)

    def attention(self, q, k, v, positions, layer):
        group = q.shape[-2] // k.shape[-2]
        k, v = (np.repeat(t, group, -2).swapaxes(-2, -3) for t in (k, v))
        scores = q.swapaxes(-2, -3) @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
        positions = np.asarray(positions)
        scores = np.where(positions[..., None, :] <= positions[..., :, None], scores, -np.inf)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        return (p / p.sum(-1, keepdims=True) @ v).swapaxes(-2, -3)

    def act(self, x, kind):
        return _ACTS[kind](x)

    def select_outputs(self, x):
        return x if self.outputs is None else x[np.asarray(self.outputs)]


def _silu(x):
    return x / (1 + np.exp(-x))


def _gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[x.dtype])(x / math.sqrt(2)))


_ACTS = {"relu": lambda x: np.maximum(x, 0), "silu": _silu, "gelu_tanh": _gelu_tanh, "gelu": _gelu}
