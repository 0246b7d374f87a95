"""Rotary frequencies as numbers, shared by every implementation of the operations."""

import math

from llmos.models.spec import Rope

__all__ = ["inverse_frequencies"]


def inverse_frequencies(rope: Rope, head_dim: int) -> list[float]:
    """Angle per position of each of the head_dim / 2 pairs.

    Source: arXiv:2104.09864; Llama 3 stretching as in transformers `modeling_rope_utils._compute_llama3_parameters`.
    """
    frequencies = [rope.theta ** (-i / head_dim) / rope.linear_factor for i in range(0, head_dim, 2)]
    if rope.llama3 is None:
        return frequencies
    s = rope.llama3
    out = []
    for frequency in frequencies:
        turns = s.original_context * frequency / (2 * math.pi)  # full rotations within the original context
        if turns < s.low_freq_factor:
            out.append(frequency / s.factor)
        elif turns > s.high_freq_factor:
            out.append(frequency)
        else:
            smooth = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor)
            out.append((1 - smooth) * frequency / s.factor + smooth * frequency)
    return out
