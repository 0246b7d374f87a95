"""What every operation means, in numpy. Used as the definition in tests and as the interpreter of compiler graphs.

Works in the dtype of its inputs (float64 in the tests). Axes as in `models.forward`.
"""

import math
from collections.abc import Sequence

import numpy as np

from llmos.models import Attention, Experts, Rope, bucket, inverse_frequencies

__all__ = ["NumpyOps"]


class NumpyOps:
    """The operations for one sequence whose tokens attend to those of smaller or equal position, or to all of them.

    outputs: the token rows whose scores are wanted, None for all; context: positions that the model is used with, where its
    rope depends on them.
    """

    def __init__(self, outputs: Sequence[int] | None = None, context: int | None = None):
        self.outputs, self.context = outputs, context

    def layer(self, prefix, block, x):
        return block(x)

    def rows(self, table, ids):
        return table[np.asarray(ids)]

    def add(self, a, b):
        return a + b

    def add_first_row(self, x, table):
        return x + table[0]

    def mul(self, a, b):
        return a * b

    def linear(self, x, w, b):
        y = x @ w.T
        return y if b is None else y + b

    def rms_norm(self, x, scale, eps):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * scale

    def layer_norm(self, x, scale, bias, eps):
        centred = x - x.mean(-1, keepdims=True)
        y = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + eps) * scale
        return y if bias is None else y + bias

    def softcap(self, x, cap):
        return cap * np.tanh(x / cap)

    def split_heads(self, x, n):
        return x.reshape(*x.shape[:-1], n, -1)

    def merge_heads(self, x):
        return x.reshape(*x.shape[:-2], -1)

    def rope(self, x, positions, rope: Rope):
        frequencies = np.array(inverse_frequencies(rope, x.shape[-1], self.context))
        half = len(frequencies)
        angle = np.asarray(positions)[..., None, None] * frequencies
        c, s = ((f(angle) * rope.magnitude).astype(x.dtype) for f in (np.cos, np.sin))
        a, b = x[..., :half], x[..., half : 2 * half]
        return np.concatenate([a * c - b * s, b * c + a * s, x[..., 2 * half :]], -1)

    def attention(self, q, k, v, positions, a: Attention, biases=None):
        positions = np.asarray(positions)
        behind = positions[..., :, None] - positions[..., None, :]
        seen = (behind >= 0) | (not a.causal)
        if a.window is not None:
            seen &= behind < a.window
        added = np.where(seen, 0.0, -np.inf)
        if a.relative is not None:
            relative = a.relative
            of = np.vectorize(lambda distance: bucket(relative, distance, a.causal), otypes=[int])(-behind)
            added = added[..., None, :, :] + np.moveaxis(biases[of], -1, -3)
        return self._attend(q, k, v, a, added)

    def cross_attention(self, q, memory, a: Attention):
        k, v = memory
        return self._attend(q, k, v, a, 0.0)

    def _attend(self, q, k, v, a: Attention, added):
        """added: to the scores (heads, queries, keys)."""
        group = q.shape[-2] // k.shape[-2]
        k, v = (np.repeat(t, group, -2).swapaxes(-2, -3) for t in (k, v))
        scores = q.swapaxes(-2, -3) @ k.swapaxes(-1, -2) * a.score_scale
        if a.softcap is not None:
            scores = self.softcap(scores, a.softcap)
        scores = scores + added
        p = np.exp(scores - scores.max(-1, keepdims=True))
        return (p / p.sum(-1, keepdims=True) @ v).swapaxes(-2, -3)

    def experts(self, x, scores, gates, ups, downs, m: Experts):
        chosen, kept = self.routes(scores, m)
        out = np.zeros_like(x)
        for t, rank in np.ndindex(chosen.shape):
            e = chosen[t, rank]
            hidden = self.act(gates[e] @ x[t], m.act) * (ups[e] @ x[t])
            out[t] += kept[t, rank] * (downs[e] @ hidden)
        return out

    def routes(self, scores, m: Experts):
        """The experts that each token goes to and their weights, (T, per token) each."""
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        chosen = np.argsort(-scores, -1, kind="stable")[:, : m.per_token]
        kept = np.take_along_axis(weights, chosen, -1)
        if m.normalised:
            kept /= kept.sum(-1, keepdims=True)
        return chosen, kept

    def act(self, x, kind):
        return _ACTS[kind](x)

    def select_outputs(self, x):
        return x if self.outputs is None else x[np.asarray(self.outputs)]

    def hidden(self, x):
        return x


def _silu(x):
    return x / (1 + np.exp(-x))


def _gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[x.dtype])(x / math.sqrt(2)))


_ACTS = {"relu": lambda x: np.maximum(x, 0), "silu": _silu, "gelu_tanh": _gelu_tanh, "gelu": _gelu}
