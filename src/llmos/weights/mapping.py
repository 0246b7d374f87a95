"""Files as memory: read when touched, given back when done with."""

import mmap
from typing import BinaryIO

__all__ = ["map_file", "release_pages"]


def map_file(file: BinaryIO) -> mmap.mmap:
    """All of an open file, read only. Raises OSError."""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def release_pages(mapped: mmap.mmap) -> None:
    """Take a file's pages out of this process, where the system can; they stay in its cache and come back when touched."""
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
