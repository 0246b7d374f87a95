"""Matrices in the layouts that the kernels read: docs/step_abi.md, Numbers.

Blocks of 16 rows, one lane per row; rows padded to 16 and columns to the format's unit with zeros. int8, int4 and uint4 have a
float16 scale for each row and group of 32 columns, uint4 a float16 minimum too; what is chosen for a tail group depends on the
values that exist only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from llmos.core.errors import UserError
from llmos.weights.quantize import LARGEST, quantize
from llmos.weights.quantized import GROUP, Groups
from llmos.weights.tensor import bf16_to_float32, float32_to_bf16

__all__ = [
    "BLOCK_ROWS",
    "PackRows",
    "Piece",
    "Rows",
    "pack",
    "pack_into",
    "packed_bytes",
    "pieces",
    "unpack",
    "unpack_groups",
]

BLOCK_ROWS = LANES = 16  # one lane per row
Rows = np.ndarray | Groups  # float32 or float16 values, uint16 bfloat16 bits, or groups
PackRows = Callable[[Rows, np.ndarray, str], bool]  # (rows, out, format) -> False: does them not
_CHUNK_VALUES = 4 << 20  # values packed at once: temporaries stay near 50 MB a thread
_QUADS = LANES * GROUP // 2  # bytes of a group's four-bit codes
_ZERO_CODE = {"int8": 0, "int4": 8, "uint4": 0}


def packed_bytes(rows: int, columns: int, format: str) -> int:
    """Bytes of a packed (rows, columns) matrix."""
    return -(-rows // LANES) * _block_bytes(columns, format)


def pack(w: Rows, format: str) -> np.ndarray:
    """w: (N, K) float32 or float16, uint16 bfloat16 bits, or Groups. Returns uint8 (packed_bytes(N, K, format),).

    Groups of the same format are stored as they are, but for codes of int4 whose scale is 0, which become that of 0. Everything
    else is rounded once: int8 to within half a scale, uint4 to the smallest squared error found, int4 to that of values weighted by
    their squares. Raises UserError for what a format cannot store: in groups numbers that are not finite, in float16 and groups
    numbers beyond their scales.
    """
    rows, columns = w.shape
    out = np.empty(packed_bytes(rows, columns, format), np.uint8)
    pack_into(
        out, (rows, columns), (lambda a, b: w.rows(a, b)) if isinstance(w, Groups) else lambda a, b: w[a:b], format
    )
    return out


def pack_into(
    out: np.ndarray,
    shape: tuple[int, int],
    rows: Callable[[int, int], Rows],
    format: str,
    where: Callable[[int], str] = "row {} of a matrix".format,
    pack_rows: PackRows | None = None,
) -> None:
    """As `pack`, into given memory; arguments as of `pieces`."""
    for piece in pieces(shape, rows, format, where, pack_rows):
        piece.pack(out[piece.at : piece.at + piece.n_bytes])


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of packed bytes that can be made by itself. at: where it begins; pack: writes it into n_bytes of memory."""

    at: int
    n_bytes: int
    pack: Callable[[np.ndarray], None]


def pieces(
    shape: tuple[int, int],
    rows: Callable[[int, int], Rows],
    format: str,
    where: Callable[[int], str] = "row {} of a matrix".format,
    pack_rows: PackRows | None = None,
) -> Iterator[Piece]:
    """A matrix as pieces in order, each asking `rows(start, stop)` for its rows when it is made.

    where: the name of the tensor that a row belongs to, for messages. pack_rows: faster code that gives the same bytes.
    """
    n, k = shape
    step = max(LANES, _CHUNK_VALUES // max(k, 1) // LANES * LANES)
    size = _block_bytes(k, format)

    def one(out: np.ndarray, start: int) -> None:
        values, target = rows(start, min(start + step, n)), out.reshape(-1, size)
        if pack_rows is None or not pack_rows(values, target, format):
            _pack_rows(values, target, format, lambda row: where(start + row))

    for start in range(0, n, step):
        blocks = -(-(min(start + step, n) - start) // LANES)
        yield Piece(at=start // LANES * size, n_bytes=blocks * size, pack=partial(one, start=start))


def unpack(data: np.ndarray, rows: int, columns: int, format: str) -> np.ndarray:
    """The float32 (rows, columns) matrix that packed bytes stand for."""
    if format in _ZERO_CODE:
        return unpack_groups(data, rows, columns, format).float32()
    blocks = _blocks(data, rows, columns, format)
    return np.ascontiguousarray(_UNPACK[format](blocks, columns)[:rows, :columns])


def unpack_groups(data: np.ndarray, rows: int, columns: int, format: str) -> Groups:
    """The groups in packed bytes of int8, int4 or uint4."""
    blocks = _blocks(data, rows, columns, format)
    groups = blocks.reshape(len(blocks), -1, _group_bytes(format))
    codes = _int8_codes(groups) if format == "int8" else _nibbles(groups)
    halves = groups[..., groups.shape[-1] - 4 * LANES if format == "uint4" else groups.shape[-1] - 2 * LANES :]
    halves = np.ascontiguousarray(halves).view(np.float16)
    of_rows = np.ascontiguousarray(halves.transpose(0, 2, 1)).reshape(len(blocks), -1, LANES, groups.shape[1])
    parts = [np.ascontiguousarray(of_rows[:, i]).reshape(-1, groups.shape[1])[:rows] for i in range(of_rows.shape[1])]
    codes = np.ascontiguousarray(codes.reshape(len(blocks) * LANES, -1)[:rows, :columns])
    return Groups(codes=codes, scales=parts[0], minimums=parts[1] if format == "uint4" else None)


def _blocks(data: np.ndarray, rows: int, columns: int, format: str) -> np.ndarray:
    return np.asarray(data, np.uint8).reshape(-(-rows // LANES), _block_bytes(columns, format))


def _block_bytes(columns: int, format: str) -> int:
    if format == "float32":
        return columns * LANES * 4
    if format == "float16":
        return columns * LANES * 2
    if format == "bf16":
        return -(-columns // 2) * LANES * 4
    return -(-columns // GROUP) * _group_bytes(format)


def _group_bytes(format: str) -> int:
    """Bytes of a group of columns in a block: codes, then scales, then minimums."""
    sizes = {"int8": LANES * GROUP + 2 * LANES, "int4": _QUADS + 2 * LANES, "uint4": _QUADS + 4 * LANES}
    if format not in sizes:
        raise ValueError(f"unknown format {format}")
    return sizes[format]


def _pack_rows(values: Rows, target: np.ndarray, format: str, where: Callable[[int], str]) -> None:
    """Rows into whole blocks. where: the name of a row of `values`."""
    if isinstance(values, Groups):
        _check_groups(values, where)
        if values.format == format:
            return _pack_groups(values, target, format)
        values = values.float32()
    if format in _ZERO_CODE:
        values = _float32(values)
        _check_values(values, format, where)
        return _pack_groups(quantize(values, format), target, format)
    if format == "float16":
        values = _float16(values, where)
    _PACK[format](_padded(values, len(target) * LANES), target)


def _check_values(w: np.ndarray, format: str, where: Callable[[int], str]) -> None:
    """Refuse what codes, scales and minimums cannot stand for."""
    largest = np.abs(w).max(1, initial=0)  # NaN where a row holds one
    strange = ~np.isfinite(largest)
    if strange.any():
        raise UserError(
            f"{where(int(strange.argmax()))} holds NaN or infinite values, which {format} cannot store: "
            "the checkpoint is damaged, or use weights='bf16' or 'float32'"
        )
    _check_size(largest, LARGEST[format], format, where)


def _check_size(largest: np.ndarray, most: float, format: str, where: Callable[[int], str]) -> None:
    """largest: magnitude in each row."""
    if (largest > most).any():
        row = int((largest > most).argmax())
        raise UserError(
            f"{where(row)} holds values up to {largest[row]:.6g}; {format} stores magnitudes up to {most}, the reach of its "
            "float16 numbers: use weights='bf16' or 'float32'"
        )


def _check_groups(groups: Groups, where: Callable[[int], str]) -> None:
    for part in (groups.scales, groups.minimums):
        if part is not None and not np.isfinite(part).all():
            row = int((~np.isfinite(part)).any(1).argmax())
            raise UserError(f"{where(row)} has scales that are NaN or infinite: the checkpoint is damaged")


def _padded(w: np.ndarray, rows: int) -> np.ndarray:
    if len(w) == rows:
        return w
    return np.concatenate([w, np.zeros((rows - len(w), w.shape[1]), w.dtype)])


def _columns_padded(w: np.ndarray, unit: int) -> np.ndarray:
    missing = -w.shape[1] % unit
    return w if missing == 0 else np.concatenate([w, np.zeros((len(w), missing), w.dtype)], axis=1)


def _float32(w: np.ndarray) -> np.ndarray:
    return bf16_to_float32(w) if w.dtype == np.uint16 else np.asarray(w, np.float32)


def _float16(w: np.ndarray, where: Callable[[int], str]) -> np.ndarray:
    """The nearest float16. NaN and infinities stay what they are; finite values that would become infinite are refused."""
    if w.dtype == np.float16:
        return w
    values = _float32(w)
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    lost = np.isinf(halves) & np.isfinite(values)
    if lost.any():
        _check_size(np.where(lost, np.abs(values), 0).max(1), 65504, "float16", where)
    return halves


def _pack_float32(w: np.ndarray, out: np.ndarray) -> None:
    out.view(np.float32).reshape(len(out), -1, LANES)[:] = _float32(w).reshape(len(out), LANES, -1).swapaxes(1, 2)


def _pack_bf16(w: np.ndarray, out: np.ndarray) -> None:
    bits = w if w.dtype == np.uint16 else float32_to_bf16(_float32(w))
    pairs = np.ascontiguousarray(_columns_padded(bits, 2)).view(np.uint32)
    out.view(np.uint32).reshape(len(out), -1, LANES)[:] = pairs.reshape(len(out), LANES, -1).swapaxes(1, 2)


def _pack_float16(w: np.ndarray, out: np.ndarray) -> None:
    out.view(np.float16).reshape(len(out), -1, LANES)[:] = w.reshape(len(out), LANES, -1).swapaxes(1, 2)


def _pack_groups(groups: Groups, out: np.ndarray, format: str) -> None:
    rows = len(out) * LANES
    codes = groups.codes
    if format == "int4" and not groups.scales.all():  # the product takes codes of a scale 0 for those of 0
        codes = np.where(np.repeat(groups.scales == 0, GROUP, axis=1)[:, : codes.shape[1]], np.uint8(8), codes)
    codes = _filled(codes, rows, _ZERO_CODE[format]).reshape(len(out), LANES, -1, GROUP // 4, 4)
    quads = codes.transpose(0, 2, 3, 1, 4)  # block, group, four columns, lane, column
    blocks = out.reshape(len(out), -1, _group_bytes(format))
    if format == "int8":
        blocks[..., : LANES * GROUP] = (quads.view(np.uint8) ^ 0x80).reshape(len(out), -1, LANES * GROUP)  # code + 128
    else:
        nibbles = quads[:, :, : GROUP // 8] | quads[:, :, GROUP // 8 :] << 4
        blocks[..., :_QUADS] = nibbles.reshape(len(out), -1, _QUADS)
    end = blocks.shape[-1]
    parts = [groups.scales] if groups.minimums is None else [groups.scales, groups.minimums]
    for i, part in enumerate(parts):
        start = end - 2 * LANES * (len(parts) - i)
        halves = np.ascontiguousarray(_padded(part, rows).reshape(len(out), LANES, -1).swapaxes(1, 2))
        blocks[..., start : start + 2 * LANES] = halves.view(np.uint8).reshape(len(out), -1, 2 * LANES)


def _filled(codes: np.ndarray, rows: int, zero: int) -> np.ndarray:
    """Codes in whole groups and blocks, those of padding standing for zero."""
    n, k = codes.shape
    if n == rows and k % GROUP == 0:
        return codes
    out = np.full((rows, -(-k // GROUP) * GROUP), zero, codes.dtype)
    out[:n, :k] = codes
    return out


def _unpack_float32(blocks: np.ndarray, columns: int) -> np.ndarray:
    return blocks.view(np.float32).reshape(len(blocks), columns, LANES).swapaxes(1, 2).reshape(-1, columns)


def _unpack_bf16(blocks: np.ndarray, columns: int) -> np.ndarray:
    pairs = blocks.view(np.uint32).reshape(len(blocks), -1, LANES).swapaxes(1, 2)
    return bf16_to_float32(np.ascontiguousarray(pairs).view(np.uint16).reshape(len(blocks) * LANES, -1))


def _unpack_float16(blocks: np.ndarray, columns: int) -> np.ndarray:
    halves = blocks.view(np.float16).reshape(len(blocks), columns, LANES).swapaxes(1, 2)
    return halves.reshape(-1, columns).astype(np.float32)


def _int8_codes(groups: np.ndarray) -> np.ndarray:
    """(blocks, groups, bytes) -> (blocks, lanes, groups, columns)."""
    quads = groups[..., : LANES * GROUP].reshape(*groups.shape[:2], GROUP // 4, LANES, 4).transpose(0, 3, 1, 2, 4)
    return (quads ^ np.uint8(0x80)).view(np.int8)


def _nibbles(groups: np.ndarray) -> np.ndarray:
    """As `_int8_codes`: the low half of a byte is a column of the first half of the group, the high half one 16 further."""
    nibbles = groups[..., :_QUADS].reshape(*groups.shape[:2], GROUP // 8, LANES, 4).transpose(0, 3, 1, 2, 4)
    return np.concatenate([nibbles & 15, nibbles >> 4], axis=3)


_PACK = {"float32": _pack_float32, "float16": _pack_float16, "bf16": _pack_bf16}
_UNPACK = {"float32": _unpack_float32, "float16": _unpack_float16, "bf16": _unpack_bf16}
