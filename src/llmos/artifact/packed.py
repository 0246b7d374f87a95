"""Packed weights as a stretch of a file: read into memory by several streams that check it on the way, or mapped.

A reader takes 512 KiB at a time, half of the second cache of today's processors, and checks them while they are there, which
makes the check nearly free. What is mapped is read by whoever computes; of it only a sample can be checked beforehand.
"""

import contextlib
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from llmos.core.errors import FormatError, UserError
from llmos.core.files import open_regular

__all__ = [
    "SUM_BYTES",
    "Checksum",
    "PackedBytes",
    "check_packed",
    "checksums",
    "map_packed",
    "n_sums",
    "read_packed",
    "reading_parts",
]

SUM_BYTES = 512 << 10  # of the file to one checksum
Checksum = Callable[[memoryview], int]  # a number of 64 bits: `runtime.native_checksum`
_SPAN = 8  # checksums that a thread takes at once: 4 MiB, two huge pages of the memory that they are read into
_SAMPLES = 32  # checksums compared of what is mapped: 16 MiB


@dataclass(frozen=True, kw_only=True)
class PackedBytes:
    """Where packed weights lie, at a multiple of 4096 bytes. sums: uint64, a checksum of each SUM_BYTES."""

    path: Path
    offset: int
    n_bytes: int
    sums: np.ndarray


def n_sums(n_bytes: int) -> int:
    """How many checksums so many bytes have."""
    return -(-n_bytes // SUM_BYTES)


def read_packed(
    packed: PackedBytes,
    out: memoryview,
    checksum: Checksum,
    *,
    threads: int,
    drop_behind: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fill `out` (n_bytes long) on so many threads. Raises FormatError where a byte is another than was written.

    drop_behind: ask the system to forget what was read, which is in memory twice otherwise, once as a file; then a second
    load reads from the disk.
    """
    found = checksums(packed, checksum, threads=threads, out=out, drop_behind=drop_behind, progress=progress)
    _compare(packed, np.flatnonzero(found != packed.sums))


def checksums(
    packed: PackedBytes,
    checksum: Checksum,
    *,
    threads: int,
    out: memoryview | None = None,
    held: memoryview | None = None,
    drop_behind: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The checksums of what is in the file now, uint64; those in `packed` are not looked at.

    out: also keep what was read; held: what the file holds, which is not read then.
    """
    sums = np.zeros(n_sums(packed.n_bytes), np.uint64)
    starts = iter(range(0, len(sums), _SPAN))  # threads take the next one: `next` is atomic

    def work(number: int) -> None:
        scratch = None if out is not None or held is not None else memoryview(bytearray(SUM_BYTES))
        with _open(packed.path) as file:
            for first in starts:
                for i in range(first, min(first + _SPAN, len(sums))):
                    at, size = i * SUM_BYTES, min(SUM_BYTES, packed.n_bytes - i * SUM_BYTES)
                    if held is not None:
                        sums[i] = checksum(held[at : at + size])
                        continue
                    into = scratch[:size] if scratch is not None else cast(memoryview, out)[at : at + size]
                    _fill(file, into, packed.offset + at, packed.path)
                    sums[i] = checksum(into)
                if drop_behind:
                    _forget(file, packed.offset + first * SUM_BYTES, _SPAN * SUM_BYTES)
                if progress and number == 0:
                    progress(min((first + _SPAN) * SUM_BYTES, packed.n_bytes), packed.n_bytes)

    _on_threads(work, max(1, min(threads, len(sums))))
    return sums


@contextlib.contextmanager
def reading_parts(packed: PackedBytes) -> Iterator[Callable[[int, int], memoryview]]:
    """A function that reads bytes start .. stop, unchecked, for any thread. Whoever removes the file's name does not disturb it."""
    lock = threading.Lock()
    with _open(packed.path) as file:

        def part(start: int, stop: int) -> memoryview:
            out = memoryview(bytearray(stop - start))
            with lock:
                _fill(file, out, packed.offset + start, packed.path)
            return out

        yield part


def check_packed(packed: PackedBytes, checksum: Checksum, *, threads: int) -> None:
    """Raise FormatError where a byte is another than was written."""
    _compare(packed, np.flatnonzero(checksums(packed, checksum, threads=threads) != packed.sums))


def map_packed(packed: PackedBytes, checksum: Checksum) -> np.ndarray:
    """The bytes as uint8, read only, in memory that all processes share that map the same file.

    Raises FormatError where one of a sample of checksums, the first and the last among them, is another.
    """
    begin = packed.offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    with _open(packed.path) as file:
        if os.fstat(file.fileno()).st_size < packed.offset + packed.n_bytes:
            raise FormatError(packed.path, "is cut off")
        mapped = mmap.mmap(file.fileno(), packed.offset + packed.n_bytes - begin, access=mmap.ACCESS_READ, offset=begin)
    data = np.frombuffer(mapped, np.uint8, packed.n_bytes, packed.offset - begin)
    last = len(packed.sums) - 1
    sample = sorted({i * last // (_SAMPLES - 1) for i in range(_SAMPLES)} if last >= 0 else ())
    parts = ((i, data[i * SUM_BYTES : (i + 1) * SUM_BYTES].data) for i in sample)
    _compare(packed, np.array([i for i, part in parts if checksum(part) != packed.sums[i]], int))
    return data


def _compare(packed: PackedBytes, wrong: np.ndarray) -> None:
    if len(wrong):
        at = packed.offset + int(wrong[0]) * SUM_BYTES
        raise FormatError(packed.path, "packed weights have changed since they were written: damaged", offset=at)


def _on_threads(work: Callable[[int], None], threads: int) -> None:
    """Runs work(0) here, so that ctrl-C ends it, and the others beside it."""
    if threads == 1:
        return work(0)
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(work, number) for number in range(1, threads)]
        work(0)
        for other in others:
            other.result()


def _open(path: Path) -> BinaryIO:
    try:
        return open_regular(path, buffering=0)
    except FileNotFoundError as error:
        raise FormatError(path, "was removed while it was read") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _fill(file: BinaryIO, out: memoryview, offset: int, path: Path) -> None:
    try:
        file.seek(offset)
        done = 0
        while done < len(out):
            n = file.readinto(out[done:])  # type: ignore[attr-defined]
            if not n:
                raise FormatError(path, "is cut off")
            done += n
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _forget(file: BinaryIO, offset: int, n_bytes: int) -> None:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), offset, n_bytes, os.POSIX_FADV_DONTNEED)
