"""The roofs of this machine, measured now: compiles the probe of `llmos.hardware` for the target and runs it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmos.compiler import Target, cached_library, chosen_target, open_library
from llmos.core.env import environment
from llmos.hardware import PROBE_SOURCE, measure_bandwidth, measure_peak, usable_cores

__all__ = ["Roofs", "build_probe", "measure_roofs"]


@dataclass(frozen=True, kw_only=True)
class Roofs:
    """What the machine reached a moment ago, with `threads` threads together. An operation is a multiply or an add."""

    target: str
    threads: int
    read_bytes_per_s: float
    float32_ops_per_s: float
    bf16_ops_per_s: float
    int8_ops_per_s: float

    def peak(self, format: str) -> float:
        """Operations per second of the products that a weight format is computed with."""
        if format == "bf16":
            return self.bf16_ops_per_s
        return self.int8_ops_per_s if format in ("int8", "int4", "uint4") else self.float32_ops_per_s


def measure_roofs(
    progress: Callable[[str], None] | None = None, *, target: str | None = None, threads: int | None = None
) -> Roofs:
    """Measures memory bandwidth and the peaks of the formats: a second or two. Nothing is remembered.

    target: instruction set, None the one that models are compiled for. Raises UserError for a target that cannot be run
    here, ResourceError where no compiler works.
    """
    report = progress or (lambda message: None)
    chosen = chosen_target(target)
    report("compiling the probe")
    probe = open_library(build_probe(chosen))
    threads = threads or environment().threads or usable_cores()
    report("measuring memory bandwidth")
    bandwidth = measure_bandwidth(probe, threads)
    report("measuring the float32, bf16 and int8 peaks")
    return Roofs(
        target=chosen.name,
        threads=threads,
        read_bytes_per_s=bandwidth,
        float32_ops_per_s=measure_peak(probe, "float32", threads),
        bf16_ops_per_s=measure_peak(probe, "bf16", threads),
        int8_ops_per_s=measure_peak(probe, "int8", threads),
    )


def build_probe(target: Target) -> Path:
    """The compiled probe, from the cache where it is there already."""
    return cached_library(PROBE_SOURCE.read_text(encoding="utf-8"), target)
