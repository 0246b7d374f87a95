"""Memory of no file, for weights and for what is measured."""

import mmap

__all__ = ["anonymous_memory"]


def anonymous_memory(n_bytes: int) -> mmap.mmap:
    """Zeroed memory, in huge pages where the system grants them. Raises OSError or ValueError where there is not enough.

    Private, because shared memory gets huge pages by a setting of its own, which is off nearly everywhere; and because a
    forked child then writes to a copy. Windows has neither forks nor that choice.
    """
    size = max(n_bytes, mmap.PAGESIZE)
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
