"""Measured roofs: how fast memory can be read and products formed. Decode is bound by the first, prefill by the second.

The probe is C++ that the caller has compiled and loaded (this package knows no compiler); its threads are Python's, which
hold no lock inside a foreign call.
"""

import ctypes
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from llmos.hardware.anonymous import anonymous_memory
from llmos.hardware.cores import pin_thread
from llmos.hardware.memory import memory

__all__ = ["PROBE_SOURCE", "measure_bandwidth", "measure_peak"]

PROBE_SOURCE = Path(__file__).with_name("probe.cc")
_ROUNDS = 5_000_000
_CHUNK = 2 * 2**20  # one huge page


def measure_bandwidth(probe: ctypes.CDLL, threads: int, *, repeats: int = 5, n_bytes: int | None = None) -> float:
    """Bytes per second that `threads` threads read together from huge pages, the best of `repeats` passes.

    n_bytes: read so many, several times in a pass, which then lie in a cache that is larger; None: more than any cache holds.
    """
    size = _read_size()
    part = max(_CHUNK, (size if n_bytes is None else n_bytes) // threads // _CHUNK * _CHUNK)
    rounds = 1 if n_bytes is None else max(1, min(64, size // (part * threads)))

    def read(rank: int) -> None:
        for _ in range(rounds):
            probe.llmos_probe_read(base + rank * part, part)

    probe.llmos_probe_read.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    probe.llmos_probe_read.restype = ctypes.c_uint64
    with anonymous_memory(part * threads) as arena:
        view = ctypes.c_char.from_buffer(arena)
        base = ctypes.addressof(view)
        ctypes.memset(base, 1, part * threads)
        seconds = _best(threads, repeats, read)
        del view
    return rounds * part * threads / seconds


def measure_peak(
    probe: ctypes.CDLL, format: Literal["float32", "bf16", "int8"], threads: int, *, repeats: int = 8
) -> float:
    """Operations per second of products in a format on `threads` threads (a multiply and an add are two), best of `repeats`."""
    run = getattr(probe, f"llmos_probe_{format}")
    run.argtypes, run.restype = (ctypes.c_uint64,), ctypes.c_uint64
    done = run(1) * _ROUNDS
    return done * threads / _best(threads, repeats, lambda rank: run(_ROUNDS))


def _read_size() -> int:
    """Well above any cache, and so much that the start of the threads (a millisecond) counts little; a quarter of what is free."""
    return max(2**26, min(2**30, memory().available // 4))


def _best(threads: int, repeats: int, work: Callable[[int], object]) -> float:
    """Seconds of the fastest repeat, from the first thread's start to the last one's end, by the threads' own clocks."""
    together = threading.Barrier(threads)
    spans: list[list[tuple[float, float]]] = [[] for _ in range(repeats)]

    def run(rank: int) -> None:
        pin_thread(rank)  # else both may start on one core and stay there for longer than a repeat takes
        for span in spans:
            together.wait()
            began = time.perf_counter()
            work(rank)
            span.append((began, time.perf_counter()))

    crew = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return min(max(end for _, end in span) - min(began for began, _ in span) for span in spans)
