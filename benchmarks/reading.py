"""How fast the threads of a run can read memory at this moment, measured inside the process that is compared.

LLMOS reads the very arena that holds its weights; peers, which do not tell where theirs lie, read huge pages of their own.
"""

import ctypes
import mmap
import os
import threading
import time
from pathlib import Path

__all__ = ["Reader", "own_memory"]

_OWN = 512 * 2**20  # far more than any cache
_PASSES = 8
_PART = 4096

_kept: list[object] = []  # mappings that live as long as the process


def own_memory() -> tuple[int, int]:
    """(address, bytes) of fresh huge pages with something written to each."""
    memory = mmap.mmap(-1, _OWN, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    view = ctypes.c_char.from_buffer(memory)
    ctypes.memset(ctypes.addressof(view), 1, _OWN)
    _kept.extend((memory, view))
    return ctypes.addressof(view), _OWN


def pin_thread(rank: int) -> None:
    """Keep the calling thread on one of the process's cores."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})


class Reader:
    """probe: library with llmos_probe_read; memory: (address, bytes)."""

    def __init__(self, probe: Path, memory: tuple[int, int], threads: int):
        self.address, n_bytes = memory
        self.part, self.threads = n_bytes // threads // _PART * _PART, threads
        self.read = ctypes.CDLL(str(probe)).llmos_probe_read
        self.read.argtypes, self.read.restype = (ctypes.c_void_p, ctypes.c_size_t), ctypes.c_uint64

    def bytes_per_s(self) -> float:
        """The best of a few passes, each from the first thread's start to the last one's end."""
        together = threading.Barrier(self.threads)
        spans: list[list[tuple[float, float]]] = [[] for _ in range(_PASSES)]

        def run(rank: int) -> None:
            pin_thread(rank)  # else both may start on one core, for longer than a pass takes
            for span in spans:
                together.wait()
                began = time.perf_counter()
                self.read(self.address + rank * self.part, self.part)
                span.append((began, time.perf_counter()))

        crew = [threading.Thread(target=run, args=(rank,)) for rank in range(self.threads)]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        seconds = min(max(end for _, end in span) - min(began for began, _ in span) for span in spans)
        return self.part * self.threads / seconds
