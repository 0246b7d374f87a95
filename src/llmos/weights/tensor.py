"""A tensor as it lies in a checkpoint."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Tensor", "bf16_to_float32", "float32_to_bf16"]


@dataclass(frozen=True)
class Tensor:
    """dtype: float32, float16, bfloat16 or another stored name. data: numpy view of the shape; bfloat16 as uint16.

    where: file and name, for messages.
    """

    dtype: str
    data: np.ndarray
    where: str = "a tensor"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def rows(self, start: int, stop: int) -> "Tensor":
        """The tensor of rows start .. stop, a view."""
        return Tensor(self.dtype, self.data[start:stop], self.where)

    def float32(self) -> np.ndarray:
        """The values as float32 (a copy unless they are already)."""
        return bf16_to_float32(self.data) if self.dtype == "bfloat16" else np.asarray(self.data, dtype=np.float32)


def bf16_to_float32(bits: np.ndarray) -> np.ndarray:
    """float32 values of bfloat16 bit patterns (uint16): exact."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def float32_to_bf16(values: np.ndarray) -> np.ndarray:
    """Bit patterns (uint16) of the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype(np.uint16)
