"""The roofs of this machine, measured now: compiles the probe of `llmos.hardware` for the target and runs it."""

import warnings
from collections.abc import Callable
from pathlib import Path

from llmos.api.notice import ModelNotice
from llmos.api.threads import chosen_threads, told_of_threads
from llmos.compiler import Target, cached_library, chosen_target, open_library
from llmos.hardware import PROBE_SOURCE, caches, measure_bandwidth, measure_peak
from llmos.plan import Roofs

__all__ = ["Roofs", "build_probe", "higher", "measure_roofs"]


def measure_roofs(
    progress: Callable[[str], None] | None = None, *, target: str | None = None, threads: int | None = None
) -> Roofs:
    """Measures memory bandwidth and the peaks of the formats: a second or two. Nothing is remembered.

    target: instruction set, None the one that models are compiled for. Raises UserError for a target that cannot be run
    here, ResourceError where no compiler works.
    """
    report = progress or (lambda message: None)
    chosen = chosen_target(target)
    for notice in told_of_threads(threads):
        warnings.warn(notice, ModelNotice, stacklevel=2)
    report("compiling the probe")
    probe = open_library(build_probe(chosen))
    threads = chosen_threads(threads)
    report("measuring memory bandwidth")
    bandwidth = measure_bandwidth(probe, threads)
    cached = max((cache.size_bytes for cache in caches()), default=0) // 2
    report("measuring the float32, bf16 and int8 peaks")
    return Roofs(
        target=chosen.name,
        threads=threads,
        read_bytes_per_s=bandwidth,
        float32_ops_per_s=measure_peak(probe, "float32", threads),
        bf16_ops_per_s=measure_peak(probe, "bf16", threads),
        int8_ops_per_s=measure_peak(probe, "int8", threads),
        cache_bytes_per_s=measure_bandwidth(probe, threads, n_bytes=cached) if cached else None,
    )


def higher(a: Roofs, b: Roofs) -> Roofs:
    """The roofs of two measurements on the same target and threads: each the higher one."""
    assert (a.target, a.threads) == (b.target, b.threads), f"roofs of {a.target} and {b.target} are not of one thing"
    cached = max(a.cache_bytes_per_s or 0, b.cache_bytes_per_s or 0) or None
    return Roofs(
        target=a.target,
        threads=a.threads,
        read_bytes_per_s=max(a.read_bytes_per_s, b.read_bytes_per_s),
        float32_ops_per_s=max(a.float32_ops_per_s, b.float32_ops_per_s),
        bf16_ops_per_s=max(a.bf16_ops_per_s, b.bf16_ops_per_s),
        int8_ops_per_s=max(a.int8_ops_per_s, b.int8_ops_per_s),
        cache_bytes_per_s=cached,
    )


def build_probe(target: Target) -> Path:
    """The compiled probe, from the cache where it is there already."""
    return cached_library(PROBE_SOURCE.read_text(encoding="utf-8"), target)
