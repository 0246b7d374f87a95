"""safetensors files, mapped into memory. Format: https://github.com/huggingface/safetensors#format

Eight bytes of little-endian header length, that much JSON, then the tensors' bytes. Everything that the header claims is
checked before it is believed: length, JSON, dtypes, shapes, bounds, overlaps.
"""

import itertools
import json
import math
from pathlib import Path

import numpy as np

from llmos.core.errors import FormatError, UserError
from llmos.core.files import open_regular
from llmos.weights.mapping import map_file, release_pages
from llmos.weights.tensor import Tensor

__all__ = ["SafetensorsFile"]

_MAX_HEADER_BYTES = 100_000_000
# An entry has three brackets and at least 50 bytes. Of brackets alone, 100 MB would become 2.5 GB of lists.
_BYTES_PER_BRACKET = 8
_DTYPES = {
    "F64": ("float64", "<f8"),
    "F32": ("float32", "<f4"),
    "F16": ("float16", "<f2"),
    "BF16": ("bfloat16", "<u2"),
    "I64": ("int64", "<i8"),
    "I32": ("int32", "<i4"),
    "I16": ("int16", "<i2"),
    "I8": ("int8", "i1"),
    "U64": ("uint64", "<u8"),
    "U32": ("uint32", "<u4"),
    "U16": ("uint16", "<u2"),
    "U8": ("uint8", "u1"),
    "BOOL": ("bool", "?"),
}
# Of the format, but of nothing that LLMOS reads.
_REFUSED = {
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"), "8-bit floating point numbers"),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), "6-bit floating point numbers"),
    "F4": "4-bit floating point numbers",
    "C64": "complex numbers",
}


class SafetensorsFile:
    """The tensors of one file by name. The map stays open as long as a tensor of it is in use."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with open_regular(path) as file:
                self._n_bytes = path.stat().st_size
                if self._n_bytes < 8:
                    raise FormatError(
                        path, f"is no safetensors file: it has {self._n_bytes} bytes, at least 8 are needed"
                    )
                self._map = map_file(file)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        self._entries = self._read_header()

    def files(self) -> list[Path]:
        return [self.path]

    def names(self) -> list[str]:
        return list(self._entries)

    def tensor(self, name: str) -> Tensor:
        dtype, shape, start, count = self._entries[name]
        ours, code = _DTYPES[dtype]
        flat = np.frombuffer(self._map, dtype=code, count=count, offset=start)
        return Tensor(ours, flat.reshape(shape), f"{self.path}: tensor {name!r}")

    def release(self) -> None:
        release_pages(self._map)

    def _read_header(self) -> dict[str, tuple[str, tuple[int, ...], int, int]]:
        length = int.from_bytes(self._map[:8], "little")
        if length > min(_MAX_HEADER_BYTES, self._n_bytes - 8):
            raise FormatError(
                self.path,
                f"header of {length} bytes does not fit a file of {self._n_bytes}: damaged or cut off",
                offset=0,
            )
        raw = self._map[8 : 8 + length]
        if raw.count(b"[") + raw.count(b"{") > length // _BYTES_PER_BRACKET + 16:
            raise FormatError(self.path, "header is nested as none of tensors is: damaged", offset=8)
        try:
            header = json.loads(raw.decode("utf-8"))
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise FormatError(self.path, f"header is not JSON: {error}", offset=8) from error
        if not isinstance(header, dict):
            raise FormatError(self.path, "header is not a JSON object", offset=8)
        header.pop("__metadata__", None)
        entries = {name: self._entry(name, entry, 8 + length) for name, entry in header.items()}
        self._check_overlaps(entries)
        return entries

    def _entry(self, name: str, entry: object, data_start: int) -> tuple[str, tuple[int, ...], int, int]:
        def bad(problem: str) -> FormatError:
            return FormatError(self.path, f"tensor {name!r}: {problem}")

        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise bad("entry must have dtype, shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if isinstance(dtype, str) and dtype in _REFUSED:
            raise bad(
                f"dtype {dtype} ({_REFUSED[dtype]}) is not supported: take the model's checkpoint in bf16, float16 or float32, or "
                "convert it where it can be read"
            )
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise bad(f"dtype {dtype!r} is not known; known: {', '.join(_DTYPES)}")
        for numbers, size in ((shape, None), (offsets, 2)):
            whole = isinstance(numbers, list) and all(type(n) is int and 0 <= n < 2**62 for n in numbers)
            if not whole or (size is not None and len(numbers) != size) or len(numbers) > 8:
                raise bad(f"{numbers!r} is not a list of sizes")
        count = math.prod(shape)
        begin, end = offsets
        if end - begin != count * np.dtype(_DTYPES[dtype][1]).itemsize:
            raise bad(f"{end - begin} bytes do not hold shape {shape} of {dtype}")
        if data_start + end > self._n_bytes:
            raise FormatError(
                self.path,
                f"tensor {name!r} ends at byte {data_start + end}, the file at {self._n_bytes}: cut off",
                offset=self._n_bytes,
            )
        return dtype, tuple(shape), data_start + begin, count

    def _check_overlaps(self, entries: dict) -> None:
        spans = sorted(
            (start, start + count * np.dtype(_DTYPES[d][1]).itemsize, name)
            for name, (d, _, start, count) in entries.items()
        )
        for (_, end, first), (start, _, second) in itertools.pairwise(spans):
            if start < end:
                raise FormatError(self.path, f"tensors {first!r} and {second!r} overlap", offset=start)
