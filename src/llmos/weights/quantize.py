"""Codes, scales and minimums for a matrix of floats: the definition that native/include/llmos/pack.h equals byte by byte.

Everything is float32 in a stated order, so that compiled code can do the same: sums run over the columns of a group one after
another. int4 and uint4 try a few scales for each group, refit each by least squares to the codes that it gives, round it to
float16 and keep the one whose squared error is smallest, the first of equals (after ggml's make_qx_quants and
make_qkx2_quants). int4 weighs the errors of a value by its square, since large weights say most (docs/log.md has the figures).
"""

import numpy as np

from llmos.weights.quantized import GROUP, Groups

__all__ = ["LARGEST", "quantize"]

_F16_MAX = np.float32(65504)
LARGEST = {"int8": 127 * 65504, "int4": 8 * 65504, "uint4": 65504}  # magnitudes that float16 scales and minimums reach
_INT4_LEVELS = (8.0, 7.75, 8.25, 8.5)  # what the value of largest magnitude is tried at, -8 being the last code
_UINT4_LEVELS = (15.0, 14.5, 14.0, 13.5, 13.0, 15.5, 16.0)  # how many steps the range is tried as
_TINY = np.float32(2**-24)  # the smallest float16: ranges below give a scale of zero and are not divided by

Choice = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # codes (n, M) as floats, scales (M,), minimums (M,)


def quantize(w: np.ndarray, format: str) -> Groups:
    """w: (N, K) float32, finite and at most LARGEST[format]. Returns its groups in int8, int4 or uint4.

    int8: the scale is the smallest float16 that clips no code, |error| <= scale / 2. Values far below 2**-24 become zero, since
    no smaller scale exists.
    """
    k = w.shape[1]
    whole = k // GROUP * GROUP
    parts = [_part(w[:, start:stop], format) for start, stop in ((0, whole), (whole, k)) if stop > start]
    codes, scales = (np.concatenate(part, axis=1) for part in ([g.codes for g in parts], [g.scales for g in parts]))
    minimums = [g.minimums for g in parts if g.minimums is not None]
    return Groups(codes=codes, scales=scales, minimums=np.concatenate(minimums, axis=1) if minimums else None)


def _part(w: np.ndarray, format: str) -> Groups:
    """Groups of equally many columns. Within, x is (columns of a group, groups), so that sums go over the first axis."""
    n, k = w.shape
    x = np.ascontiguousarray(w.reshape(-1, min(k, GROUP)).T, np.float32)
    codes, scales, minimums = _CHOOSE[format](x)
    return Groups(
        codes=codes.T.astype(np.int8 if format == "int8" else np.uint8).reshape(n, k),
        scales=scales.reshape(n, -1),
        minimums=None if minimums is None else minimums.reshape(n, -1),
    )


def _int8(x: np.ndarray) -> Choice:
    scales = _float16_above(np.abs(x).max(0) / np.float32(127))
    step = scales.astype(np.float32)
    codes = np.divide(x, step, out=np.zeros_like(x), where=step > 0)
    return _rounded(codes, -127, 127), scales, None


def _int4(x: np.ndarray) -> Choice:
    high, low = x.max(0), x.min(0)
    extreme = np.where(high >= -low, high, low)
    extreme = np.where(np.abs(extreme) < _TINY, np.float32(1), extreme)
    weight = x * x
    best = _Best(x, weight)
    for level in _INT4_LEVELS:
        codes = _rounded(x * (np.float32(-level) / extreme), -8, 7)
        scales = _float16(_ratio(_sum(x * codes * weight), _sum(codes * codes * weight)))
        best.offer(scales, None, -8, 7)
    return best.codes + 8, best.scales, None


def _uint4(x: np.ndarray) -> Choice:
    low = x.min(0)
    above, span = x - low, x.max(0) - low
    span = np.where(span < _TINY, np.float32(np.inf), span)
    n, sum_x = np.float32(len(x)), _sum(above)
    best = _Best(x)
    for level in _UINT4_LEVELS:
        codes = _rounded(above * (np.float32(level) / span), 0, 15)
        sum_c, sum_cc, sum_xc = _sum(codes), _sum(codes * codes), _sum(above * codes)
        spread = n * sum_cc - sum_c * sum_c
        scales = _float16(_ratio(n * sum_xc - sum_x * sum_c, spread))
        minimums = _float16(low + _ratio(sum_cc * sum_x - sum_c * sum_xc, spread))
        best.offer(scales, minimums, 0, 15)
    return best.codes, best.scales, best.minimums


class _Best:
    """The choice of smallest squared error so far, for each group. weight: of the error of each value."""

    def __init__(self, x: np.ndarray, weight: np.ndarray | None = None):
        self.x, self.weight = x, weight
        self.error = np.full(x.shape[1], np.inf, np.float32)
        self.codes = np.zeros_like(x)
        self.scales = np.zeros(x.shape[1], np.float16)
        self.minimums = np.zeros(x.shape[1], np.float16)

    def offer(self, scales: np.ndarray, minimums: np.ndarray | None, low: int, high: int) -> None:
        """Codes from low to high for these scales and minimums (None: zero)."""
        step = scales.astype(np.float32)
        start = np.float32(0) if minimums is None else minimums.astype(np.float32)
        codes = _rounded((self.x - start) * _inverse(step), low, high)
        off = self.x - (codes * step + start)
        error = _sum(off * off if self.weight is None else off * off * self.weight)
        better = error < self.error
        self.error = np.where(better, error, self.error)
        self.scales = np.where(better, scales, self.scales)
        self.minimums = self.minimums if minimums is None else np.where(better, minimums, self.minimums)
        self.codes = np.where(better, codes, self.codes)


def _sum(x: np.ndarray) -> np.ndarray:
    """Over the first axis, in its order, from zero (so that no zero is negative)."""
    total = np.zeros(x.shape[1], np.float32)
    for row in x:
        total += row
    return total


def _rounded(x: np.ndarray, low: int, high: int) -> np.ndarray:
    """Clipped, then the nearest integer, ties to even."""
    np.clip(x, np.float32(low), np.float32(high), out=x)
    return np.rint(x, out=x)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def _inverse(step: np.ndarray) -> np.ndarray:
    return np.divide(np.float32(1), step, out=np.zeros_like(step), where=step != 0)


def _float16(x: np.ndarray) -> np.ndarray:
    """The nearest finite float16."""
    return np.clip(x, -_F16_MAX, _F16_MAX).astype(np.float16)


def _float16_above(x: np.ndarray) -> np.ndarray:
    """The smallest float16 that is at least x, 0 <= x <= 65504."""
    nearest = x.astype(np.float16)
    return (nearest.view(np.uint16) + (nearest.astype(np.float32) < x)).astype(np.uint16).view(np.float16)


_CHOOSE = {"int8": _int8, "int4": _int4, "uint4": _uint4}
