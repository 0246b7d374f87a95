"""Weights packed and checked by the compiled code that will read them: the bytes of `weights.pack`, several times as fast."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np

from llmos.core.errors import LlmosError
from llmos.runtime import abi
from llmos.weights import Groups, PackRows

__all__ = ["native_checksum", "native_packer"]


_STORED = {np.dtype(np.float32): "float32", np.dtype(np.float16): "float16", np.dtype(np.uint16): "bf16"}


def native_packer(library: Path) -> PackRows:
    """pack(rows, out, format) of a compiled model's library.

    rows: (n, k) float32 or float16, uint16 bfloat16 bits, or Groups; out: contiguous uint8 of ceil(n / 16) blocks. False where
    a format meets a number that it cannot store, and for groups of another format. The interpreter lock is released meanwhile.
    """
    loaded = abi.load_library(str(library))

    def pack(rows: np.ndarray | Groups, out: np.ndarray, format: str) -> bool:
        assert out.flags.c_contiguous, "packs in place"
        if isinstance(rows, Groups):
            status = _pack_groups(loaded, rows, out, format)
        else:
            status = _pack_values(loaded, rows, out, format)
        if status not in (0, abi.BAD_NUMBER):
            raise LlmosError(f"packing was refused (status {status}): {abi.STATUS.get(status, 'unknown')}")
        return status == 0

    return pack


def native_checksum(library: Path) -> Callable[[memoryview], int]:
    """The checksum of native/include/llmos/checksum.h, by a compiled model's library; the interpreter lock is released."""
    loaded = abi.load_library(str(library))

    def checksum(data: memoryview) -> int:
        array = np.frombuffer(data, np.uint8)
        return loaded.llmos_checksum(array.ctypes.data, array.nbytes)

    return checksum


def _pack_values(loaded: ctypes.CDLL, rows: np.ndarray, out: np.ndarray, format: str) -> int:
    rows = np.ascontiguousarray(rows)
    n, k = rows.shape
    stored = abi.FORMATS[_STORED[rows.dtype]]
    return loaded.llmos_pack(abi.FORMATS[format], stored, n, k, rows.ctypes.data, out.ctypes.data)


def _pack_groups(loaded: ctypes.CDLL, groups: Groups, out: np.ndarray, format: str) -> int:
    parts = [groups.codes, groups.scales, groups.minimums]
    halves = [part for part in parts[1:] if part is not None]
    if groups.format != format or not all(np.isfinite(part).all() for part in halves):
        return abi.BAD_NUMBER
    kept = [None if part is None else np.ascontiguousarray(part) for part in parts]
    n, k = groups.shape
    pointers = [None if part is None else part.ctypes.data for part in kept]
    return loaded.llmos_pack_groups(abi.FORMATS[format], n, k, *pointers, out.ctypes.data)
