"""The operations in torch: what the trainer differentiates and the torch executor runs. Axes as in `models.forward`.

Leading batch axes may stand before T. Products run in the dtype that autocast chooses; norms and rotary angles stay in
float32, since their errors would add up over the layers.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from llmos.models import Attention, Experts, Rope, bucket, inverse_frequencies

__all__ = ["TorchOps"]


class TorchOps:
    """The operations for whole sequences: token t attends to tokens 0 to t of its own sequence, or to all of them.

    Every output row is kept (`select_outputs` is the identity), as training needs them all. context: positions that the
    model is used with, where its rope depends on them.
    """

    def __init__(self, context: int | None = None):
        self.context = context

    def layer(self, prefix: str, block: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return block(x)

    def rows(self, table: Tensor, ids: Tensor) -> Tensor:
        return F.embedding(torch.as_tensor(ids, device=table.device), table)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def add_first_row(self, x: Tensor, table: Tensor) -> Tensor:
        return x + table[0]

    def mul(self, a: Tensor, b: Tensor | float) -> Tensor:
        return a * b

    def linear(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return F.linear(x, w, b)

    def rms_norm(self, x: Tensor, scale: Tensor, eps: float) -> Tensor:
        wide = _wide(x)
        return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * scale

    def layer_norm(self, x: Tensor, scale: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        if scale.ndim > 1:  # every head has a scale of its own
            return F.layer_norm(x, (x.shape[-1],), None, None, eps) * scale
        return F.layer_norm(x, (x.shape[-1],), scale, bias, eps)

    def softcap(self, x: Tensor, cap: float) -> Tensor:
        return cap * torch.tanh(x / cap)

    def split_heads(self, x: Tensor, n: int) -> Tensor:
        return x.unflatten(-1, (n, -1))

    def merge_heads(self, x: Tensor) -> Tensor:
        return x.flatten(-2)

    def rope(self, x: Tensor, positions: Tensor, rope: Rope) -> Tensor:
        """x: (..., T, n, d); positions: (T,) or (..., T)."""
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        frequencies = torch.tensor(inverse_frequencies(rope, x.shape[-1], self.context), dtype=wide, device=x.device)
        half = len(frequencies)
        angle = torch.as_tensor(positions, device=x.device)[..., None, None] * frequencies
        c, s = angle.cos() * rope.magnitude, angle.sin() * rope.magnitude
        a, b, rest = x.split((half, half, x.shape[-1] - 2 * half), -1)
        return torch.cat([a * c - b * s, b * c + a * s, rest], -1).to(x.dtype)

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, positions: Tensor, a: Attention, biases: Tensor | None = None
    ) -> Tensor:
        """q: (..., T, H, d); k, v: (..., T, K, d); biases: (buckets, H)."""
        length = q.shape[-3]
        if a.causal and a.relative is None and (a.window is None or a.window >= length):
            return self._attend(q, k, v, a, None, is_causal=True)
        added = torch.zeros(length, length, dtype=q.dtype, device=q.device)
        added = added.masked_fill(~_seen(length, a, q.device), -math.inf)
        if a.relative is not None and biases is not None:
            of = [[bucket(a.relative, key - query, a.causal) for key in range(length)] for query in range(length)]
            added = added + biases[torch.tensor(of, device=q.device)].movedim(-1, 0).to(q.dtype)
        return self._attend(q, k, v, a, added)

    def cross_attention(self, q: Tensor, memory: tuple[Tensor, Tensor], a: Attention) -> Tensor:
        k, v = memory
        return self._attend(q, k, v, a, None)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, a: Attention, added: Tensor | None, is_causal: bool = False
    ) -> Tensor:
        """added: to the scores. Keys are repeated for their queries: torch's fast CPU path needs it."""
        group = q.shape[-2] // k.shape[-2]
        k, v = (t.repeat_interleave(group, -2).to(q.dtype) for t in (k, v))
        q, k, v = (t.transpose(-2, -3) for t in (q, k, v))
        if a.softcap is None:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=added, is_causal=is_causal, scale=a.score_scale)
        else:
            scores = self.softcap(q @ k.transpose(-1, -2) * a.score_scale, a.softcap)
            if is_causal:
                scores = scores.masked_fill(~_seen(q.shape[-2], a, q.device), -math.inf)
            elif added is not None:
                scores = scores + added
            out = scores.softmax(-1) @ v
        return out.transpose(-2, -3)

    def experts(
        self, x: Tensor, scores: Tensor, gates: list[Tensor], ups: list[Tensor], downs: list[Tensor], m: Experts
    ) -> Tensor:
        """x: (..., T, D); scores: (..., T, E). Tokens are gathered by expert."""
        rows, weights = x.flatten(0, -2), _wide(scores).flatten(0, -2).softmax(-1)
        kept, chosen = weights.topk(m.per_token, -1)
        if m.normalised:
            kept = kept / kept.sum(-1, keepdim=True)
        out = torch.zeros_like(rows)
        for e in range(m.count):
            token, rank = (chosen == e).nonzero(as_tuple=True)
            here = rows[token]
            hidden = self.act(F.linear(here, gates[e]), m.act) * F.linear(here, ups[e])
            share = kept[token, rank, None].to(out.dtype)
            out = out.index_add(0, token, (F.linear(hidden, downs[e]) * share).to(out.dtype))
        return out.view(x.shape)

    def act(self, x: Tensor, kind: str) -> Tensor:
        return _ACTS[kind](x)

    def select_outputs(self, x: Tensor) -> Tensor:
        return x

    def hidden(self, x: Tensor) -> Tensor:
        return x


def _wide(x: Tensor) -> Tensor:
    """At least float32."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _seen(length: int, a: Attention, device: torch.device) -> Tensor:
    """(T, T) bool: which tokens a token attends to."""
    behind = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
    seen = (behind >= 0) | (not a.causal)
    return seen if a.window is None else seen & (behind < a.window)


_ACTS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}
