"""What a training step costs and what the machine could do: the two halves of utilisation."""

import math
import time

import torch

from llmos.models import Spec, shapes, share_of_tokens
from llmos.trainer.module import is_norm

__all__ = ["flops_per_token", "peak_flops"]


def flops_per_token(spec: Spec, length: int) -> float:
    """Floating-point operations of forward and backward per token of sequences of `length`.

    Six per weight of every matrix product (the tied head counts, the look-up of rows does not, of experts those that work
    on a token do), and the two products of causal attention, whose mean reach is half the length, or a window that is less.
    """
    weights = sum(
        math.prod(shape) * share_of_tokens(spec, name)
        for name, shape in shapes(spec).items()
        if len(shape) == 2 and name not in ("embed", "position") and not is_norm(name)
    )
    weights += spec.vocab * (spec.embed_width or spec.width) if spec.tied else 0
    mean = (length + 1) / 2
    reach = sum(a.heads * a.head_dim * min(mean, a.window or mean) for a in (layer.attention for layer in spec.layers))
    return 6.0 * weights + 6.0 * 2 * reach


def peak_flops(dtype: torch.dtype, size: int = 2048, tries: int = 5) -> float:
    """Operations per second of the fastest of several square matrix products. Takes well under a second on a CPU."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    best_s = math.inf
    for _ in range(tries):
        start = time.perf_counter()
        torch.mm(a, b)
        best_s = min(best_s, time.perf_counter() - start)
    return 2.0 * size**3 / best_s
