"""Rotary frequencies as numbers, shared by every implementation of the operations."""

import math
from collections.abc import Callable

from llmos.models.spec import Llama3Scaling, LongFactors, Rope, Yarn

__all__ = ["inverse_frequencies"]


def inverse_frequencies(rope: Rope, head_dim: int, context: int | None = None) -> list[float]:
    """Angle per position of each of the rotated pairs; head_dim: size of a head, of which `rope.rotated` may be less.

    context: positions that the model is used with, which decides between long and short factors; None means short.
    Source: arXiv:2104.09864; the kinds of stretching as in transformers `modeling_rope_utils`.
    """
    n = head_dim if rope.rotated is None else rope.rotated
    frequencies = [rope.theta ** (-i / n) / rope.linear_factor for i in range(0, n, 2)]
    if rope.llama3 is not None:
        return [_llama3(rope.llama3, frequency) for frequency in frequencies]
    if rope.long is not None:
        return _long(rope.long, frequencies, context)
    if rope.yarn is not None:
        return _yarn(rope.yarn, frequencies, _pair_of(rope.theta, n))
    return frequencies


def _llama3(s: Llama3Scaling, frequency: float) -> float:
    turns = s.original_context * frequency / (2 * math.pi)  # full rotations within the original context
    if turns < s.low_freq_factor:
        return frequency / s.factor
    if turns > s.high_freq_factor:
        return frequency
    smooth = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor)
    return (1 - smooth) * frequency / s.factor + smooth * frequency


def _long(s: LongFactors, frequencies: list[float], context: int | None) -> list[float]:
    factors = s.long if context is not None and context > s.original_context else s.short
    return [frequency / factor for frequency, factor in zip(frequencies, factors, strict=True)]


def _yarn(s: Yarn, frequencies: list[float], pair_of: Callable[[float], float]) -> list[float]:
    low, high = (
        pair_of(s.original_context / (s.beta_fast * 2 * math.pi)),
        pair_of(s.original_context / (s.beta_slow * 2 * math.pi)),
    )
    if s.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * len(frequencies) - 1)
    span = max(high - low, 0.001)
    out = []
    for i, frequency in enumerate(frequencies):
        stretched = min(max((i - low) / span, 0.0), 1.0)
        out.append(frequency / s.factor * stretched + frequency * (1 - stretched))
    return out


def _pair_of(theta: float, n: int) -> Callable[[float], float]:
    """The (fractional) pair whose wavelength over 2 pi is the argument."""
    return lambda wavelength: n * math.log(wavelength) / (2 * math.log(theta))
