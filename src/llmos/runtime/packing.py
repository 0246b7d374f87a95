"""Weights packed by the compiled code that will read them: the bytes of `weights.pack`, several times as fast."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from llmos.core.errors import LlmosError
from llmos.runtime import abi

__all__ = ["native_packer"]


def native_packer(library: Path) -> Callable[[np.ndarray, np.ndarray, str], bool]:
    """pack(rows, out, format) of a compiled model's library.

    rows: (n, k) float32, or uint16 bfloat16 bits; out: contiguous uint8 of ceil(n / 16) blocks. False where int8 meets a number
    that is not finite. The interpreter lock is released meanwhile.
    """
    loaded = abi.load_library(str(library))

    def pack(rows: np.ndarray, out: np.ndarray, format: str) -> bool:
        rows = np.ascontiguousarray(rows)
        assert out.flags.c_contiguous and rows.dtype in (np.float32, np.uint16), (
            "packs float32 or bfloat16 bits in place"
        )
        stored = "bf16" if rows.dtype == np.uint16 else "float32"
        n, k = rows.shape
        status = loaded.llmos_pack(abi.FORMATS[format], abi.FORMATS[stored], n, k, rows.ctypes.data, out.ctypes.data)
        if status not in (0, abi.BAD_NUMBER):
            raise LlmosError(f"packing was refused (status {status}): {abi.STATUS.get(status, 'unknown')}")
        return status == 0

    return pack
