"""Compiles the probe of `llmos.hardware` for this machine, which also warms the toolchain, and measures with it."""

import ctypes
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmos.compiler.targets import Target, target_named
from llmos.compiler.toolchain import build_shared, toolchain_id
from llmos.core.env import environment
from llmos.hardware import PROBE_SOURCE, features, measure_bandwidth, measure_int8_peak, usable_cores

__all__ = ["Roofs", "measure_roofs", "warm_toolchain"]


@dataclass(frozen=True, kw_only=True)
class Roofs:
    """What the machine reached a moment ago, with `threads` threads together. An operation is a multiply or an add."""

    target: str
    threads: int
    read_bytes_per_s: float
    int8_ops_per_s: float


def measure_roofs(progress: Callable[[str], None]) -> Roofs:
    """Measures memory bandwidth and the int8 peak: about a second. Raises ResourceError where no compiler works."""
    target = _target()
    progress("compiling the probe")
    probe = ctypes.CDLL(str(_build_probe(target)))
    threads = environment().threads or usable_cores()
    progress("measuring memory bandwidth")
    bandwidth = measure_bandwidth(probe, threads)
    progress("measuring the int8 peak")
    return Roofs(
        target=target.name,
        threads=threads,
        read_bytes_per_s=bandwidth,
        int8_ops_per_s=measure_int8_peak(probe, threads),
    )


def warm_toolchain(progress: Callable[[str], None]) -> None:
    """Pays now what the first compilation for this machine would pay, and prepares the default model."""
    from llmos.api import load_model
    from llmos.models import DEFAULT_MODEL

    progress("preparing the compiler for its first use")
    _build_probe(_target())
    progress(f"preparing {DEFAULT_MODEL}")
    load_model(DEFAULT_MODEL)


def _target() -> Target:
    return target_named(environment().target, features())


def _build_probe(target: Target) -> Path:
    """The compiled probe, from the cache where it is there already."""
    identity = "\n".join((target.name, target.cpu, toolchain_id(), PROBE_SOURCE.read_text(encoding="utf-8")))
    out = environment().cache / "code" / f"probe-{hashlib.sha256(identity.encode()).hexdigest()[:32]}.so"
    if not out.exists():
        build_shared(PROBE_SOURCE, out, target)
    return out
