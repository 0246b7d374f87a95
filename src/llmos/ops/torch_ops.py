"""The operations in torch: what the trainer differentiates and the torch executor runs. Axes as in `models.forward`.

Leading batch axes may stand before T. Products run in the dtype that autocast chooses; norms and rotary angles stay in
float32, since their errors would add up over the layers.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from llmos.models import Rope, inverse_frequencies

__all__ = ["TorchOps"]


class TorchOps:
    """The operations for whole sequences: token t attends to tokens 0 to t of its own sequence.

    Every output row is kept (`select_outputs` is the identity), as training needs them all.
    """

    def layer(self, index: int, block: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return block(x)

    def rows(self, table: Tensor, ids: Tensor) -> Tensor:
        return F.embedding(torch.as_tensor(ids, device=table.device), table)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def mul(self, a: Tensor, b: Tensor | float) -> Tensor:
        return a * b

    def linear(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return F.linear(x, w, b)

    def rms_norm(self, x: Tensor, scale: Tensor, eps: float) -> Tensor:
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * scale

    def layer_norm(self, x: Tensor, scale: Tensor, bias: Tensor, eps: float) -> Tensor:
        return F.layer_norm(x, (x.shape[-1],), scale, bias, eps)

    def split_heads(self, x: Tensor, n: int) -> Tensor:
        return x.unflatten(-1, (n, -1))

    def merge_heads(self, x: Tensor) -> Tensor:
        return x.flatten(-2)

    def rope(self, x: Tensor, positions: Tensor, rope: Rope) -> Tensor:
        """x: (..., T, n, d); positions: (T,) or (..., T)."""
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        frequencies = torch.tensor(inverse_frequencies(rope, x.shape[-1]), dtype=wide, device=x.device)
        angle = torch.as_tensor(positions, device=x.device)[..., None, None] * frequencies
        c, s = angle.cos(), angle.sin()
        a, b = x.chunk(2, -1)
        return torch.cat([a * c - b * s, b * c + a * s], -1).to(x.dtype)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, positions: Tensor, layer: int) -> Tensor:
        """q: (..., T, H, d); k, v: (..., T, K, d). Keys are repeated for their queries: torch's fast CPU path needs it."""
        group = q.shape[-2] // k.shape[-2]
        k, v = (t.repeat_interleave(group, -2).to(q.dtype) for t in (k, v))
        q, k, v = (t.transpose(-2, -3) for t in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return out.transpose(-2, -3)

    def act(self, x: Tensor, kind: str) -> Tensor:
        return _ACTS[kind](x)

    def select_outputs(self, x: Tensor) -> Tensor:
        return x


_ACTS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}
