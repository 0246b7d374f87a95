"""What a training step costs and what the machine could do: the two halves of utilisation."""

import math
import time

import torch

from llmos.models import Spec, shapes

__all__ = ["flops_per_token", "peak_flops"]


def flops_per_token(spec: Spec, length: int) -> float:
    """Floating-point operations of forward and backward per token of sequences of `length`.

    Six per weight of every matrix product (the tied head counts, the look-up of rows does not), and the two products of
    causal attention, whose mean reach is half the length.
    """
    named = shapes(spec)
    weights = sum(
        math.prod(shape) for name, shape in named.items() if len(shape) == 2 and name not in ("embed", "position")
    )
    weights += spec.vocab * spec.width if spec.tied else 0
    reach = sum(layer.attention.heads * layer.attention.head_dim for layer in spec.layers) * (length + 1) / 2
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
