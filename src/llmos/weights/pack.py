"""Matrices in the layouts that the kernels read: docs/step_abi.md, Numbers.

Blocks of 16 rows, one lane per row; rows padded to 16 and columns to the format's unit with zeros. int8 has a bfloat16
scale for each row and group of 32 columns; a tail group's scale is taken over the values that exist.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from llmos.core.errors import UserError
from llmos.weights.tensor import bf16_to_float32, float32_to_bf16

__all__ = ["pack", "pack_into", "packed_bytes", "unpack"]

LANES, GROUP = 16, 32
PackRows = Callable[[np.ndarray, np.ndarray, str], bool]  # (rows, out, format) -> False: does them not
_CHUNK_VALUES = 4 << 20  # values packed at once: temporaries stay near 50 MB a thread


def packed_bytes(rows: int, columns: int, format: str) -> int:
    """Bytes of a packed (rows, columns) matrix."""
    return -(-rows // LANES) * _block_bytes(columns, format)


def pack(w: np.ndarray, format: str) -> np.ndarray:
    """w: (N, K) float32, or uint16 bfloat16 bits. Returns uint8 (packed_bytes(N, K, format),).

    int8: value = (q - 128) * scale, q rounded to nearest even; |error| <= scale / 2. Raises UserError for int8 of values that are
    not finite.
    """
    rows, columns = w.shape
    out = np.empty(packed_bytes(rows, columns, format), np.uint8)
    pack_into(out, (rows, columns), lambda start, stop: w[start:stop], format)
    return out


def pack_into(
    out: np.ndarray,
    shape: tuple[int, int],
    rows: Callable[[int, int], np.ndarray],
    format: str,
    where: Callable[[int], str] = "row {} of a matrix".format,
    pack_rows: PackRows | None = None,
    threads: int = 2,
) -> None:
    """As `pack`, into given memory, asking `rows(start, stop)` for one chunk of rows at a time, on several threads.

    where: the name of the tensor that a row belongs to, for messages. pack_rows: faster code that gives the same bytes.
    """
    n, k = shape
    step = max(LANES, _CHUNK_VALUES // max(k, 1) // LANES * LANES)
    size = _block_bytes(k, format)

    def one(start: int) -> None:
        stop = min(start + step, n)
        blocks = -(-(stop - start) // LANES)
        target = out[start // LANES * size : (start // LANES + blocks) * size].reshape(blocks, size)
        values = rows(start, stop)
        if pack_rows is not None and pack_rows(values, target, format):
            return
        if format == "int8":
            _check_finite(values, start, where)
        _PACK[format](_padded(values, blocks * LANES), target)

    starts = range(0, n, step)
    if len(starts) == 1:
        one(0)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, starts))


def unpack(data: np.ndarray, rows: int, columns: int, format: str) -> np.ndarray:
    """The float32 (rows, columns) matrix that packed bytes stand for."""
    blocks = np.asarray(data, np.uint8).reshape(-(-rows // LANES), _block_bytes(columns, format))
    return np.ascontiguousarray(_UNPACK[format](blocks, columns)[:rows, :columns])


def _block_bytes(columns: int, format: str) -> int:
    if format == "float32":
        return columns * LANES * 4
    if format == "bf16":
        return -(-columns // 2) * LANES * 4
    if format == "int8":
        return -(-columns // GROUP) * LANES * (GROUP + 2)
    raise ValueError(f"unknown format {format}")


def _check_finite(w: np.ndarray, start: int, where: Callable[[int], str]) -> None:
    """Refuse what a scale and codes cannot stand for. start: the number of the first row."""
    strange = (w >> 7 & 0xFF) == 0xFF if w.dtype == np.uint16 else ~np.isfinite(w)
    damaged = strange.any(1)
    if damaged.any():
        raise UserError(
            f"{where(start + int(damaged.argmax()))} holds NaN or infinite values, which int8 cannot store: "
            "the checkpoint is damaged, or use weights='bf16' or 'float32'"
        )


def _padded(w: np.ndarray, rows: int) -> np.ndarray:
    if len(w) == rows:
        return w
    return np.concatenate([w, np.zeros((rows - len(w), w.shape[1]), w.dtype)])


def _columns_padded(w: np.ndarray, unit: int) -> np.ndarray:
    missing = -w.shape[1] % unit
    return w if missing == 0 else np.concatenate([w, np.zeros((len(w), missing), w.dtype)], axis=1)


def _float32(w: np.ndarray) -> np.ndarray:
    return bf16_to_float32(w) if w.dtype == np.uint16 else np.asarray(w, np.float32)


def _pack_float32(w: np.ndarray, out: np.ndarray) -> None:
    out.view(np.float32).reshape(len(out), -1, LANES)[:] = _float32(w).reshape(len(out), LANES, -1).swapaxes(1, 2)


def _pack_bf16(w: np.ndarray, out: np.ndarray) -> None:
    bits = w if w.dtype == np.uint16 else float32_to_bf16(_float32(w))
    pairs = np.ascontiguousarray(_columns_padded(bits, 2)).view(np.uint32)
    out.view(np.uint32).reshape(len(out), -1, LANES)[:] = pairs.reshape(len(out), LANES, -1).swapaxes(1, 2)


def _pack_int8(w: np.ndarray, out: np.ndarray) -> None:
    values = _columns_padded(_float32(w), GROUP).reshape(len(out), LANES, -1, GROUP)
    scales = _scale_bits(np.abs(values).max(-1))
    step = bf16_to_float32(scales)[..., None]
    q = np.divide(values, step, out=np.zeros_like(values), where=step > 0)
    np.rint(q, out=q)
    np.clip(q, -127, 127, out=q)
    codes = (q + 128).astype(np.uint8)
    groups = out.reshape(len(out), -1, LANES * (GROUP + 2))
    quads = codes.reshape(len(out), LANES, -1, GROUP // 4, 4).transpose(0, 2, 3, 1, 4)
    groups[..., : LANES * GROUP] = quads.reshape(len(out), -1, LANES * GROUP)
    groups[..., LANES * GROUP :] = (
        np.ascontiguousarray(scales.swapaxes(1, 2)).view(np.uint8).reshape(len(out), -1, 2 * LANES)
    )


def _scale_bits(largest: np.ndarray) -> np.ndarray:
    """The smallest bfloat16 that is at least largest / 127, so that no code is clipped."""
    bits = (largest / np.float32(127)).view(np.uint32)
    return np.minimum((bits + 0xFFFF) >> 16, 0x7F7F).astype(np.uint16)


def _unpack_float32(blocks: np.ndarray, columns: int) -> np.ndarray:
    return blocks.view(np.float32).reshape(len(blocks), columns, LANES).swapaxes(1, 2).reshape(-1, columns)


def _unpack_bf16(blocks: np.ndarray, columns: int) -> np.ndarray:
    pairs = blocks.view(np.uint32).reshape(len(blocks), -1, LANES).swapaxes(1, 2)
    return bf16_to_float32(np.ascontiguousarray(pairs).view(np.uint16).reshape(len(blocks) * LANES, -1))


def _unpack_int8(blocks: np.ndarray, columns: int) -> np.ndarray:
    groups = blocks.reshape(len(blocks), -1, LANES * (GROUP + 2))
    quads = groups[..., : LANES * GROUP].reshape(len(blocks), -1, GROUP // 4, LANES, 4).transpose(0, 3, 1, 2, 4)
    codes = quads.reshape(len(blocks), LANES, -1, GROUP).astype(np.float32) - 128
    scales = (
        np.ascontiguousarray(groups[..., LANES * GROUP :])
        .view(np.uint16)
        .reshape(len(blocks), -1, LANES)
        .swapaxes(1, 2)
    )
    return (codes * bf16_to_float32(np.ascontiguousarray(scales))[..., None]).reshape(len(blocks) * LANES, -1)


_PACK = {"float32": _pack_float32, "bf16": _pack_bf16, "int8": _pack_int8}
_UNPACK = {"float32": _unpack_float32, "bf16": _unpack_bf16, "int8": _unpack_int8}
