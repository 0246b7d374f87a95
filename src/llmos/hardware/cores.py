"""Cores: how many there are and how many this process may really keep busy.

A container shows every core of its host; what counts is the affinity mask and the cgroup's share of time.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from llmos.hardware.cgroups import cgroup_folders
from llmos.hardware.sysctl import Sysctl, sysctl
from llmos.hardware.text_files import read_int, read_text

__all__ = ["Topology", "pin_thread", "topology", "usable_cores"]

_ROOT = Path("/")


@dataclass(frozen=True, kw_only=True)
class Topology:
    """Counts of the machine. threads: logical processors; cores: physical ones; usable: what this process may use."""

    threads: int
    cores: int
    packages: int
    numa_nodes: int
    usable: int


def topology(root: Path = _ROOT, read: Sysctl = sysctl) -> Topology:
    """The machine's processors. Where the system does not say, every logical processor counts as a core of one package."""
    threads = os.cpu_count() or 1
    places = set()
    for folder in root.glob("sys/devices/system/cpu/cpu[0-9]*/topology"):
        places.add((read_int(folder / "physical_package_id"), read_int(folder / "core_id")))
    nodes = len(list(root.glob("sys/devices/system/node/node[0-9]*")))
    packages = len({package for package, _ in places})
    return Topology(
        threads=threads,
        cores=len(places) or _physical(read) or threads,
        packages=packages or 1,
        numa_nodes=nodes or 1,
        usable=usable_cores(root),
    )


def _physical(read: Sysctl) -> int | None:
    cores = read("hw.physicalcpu")
    return cores if isinstance(cores, int) else None


def usable_cores(root: Path = _ROOT) -> int:
    """Logical processors that this process may keep busy: affinity mask and cgroup quota, at least 1.

    A quota is rounded to the nearest: two threads on a quota of 1.05 are both stopped for half of each period, and gain 5 %
    where nobody waits. From 1.5 on the further thread gains more than a step loses when one of them is stopped before the other.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root)
    return allowed if quota is None else max(1, min(allowed, math.floor(quota + 0.5)))


def pin_thread(rank: int) -> None:
    """Keep the calling thread on one of the process's logical processors, where the system can: for measurements."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Processors' worth of time that the cgroups of this process grant, None without a limit.

    Source: Documentation/admin-guide/cgroup-v2.rst (cpu.max) and cgroup-v1's cpu.cfs_quota_us.
    """
    limits = []
    for folder in cgroup_folders("cpu", root):
        quota, period = read_int(folder / "cpu.cfs_quota_us"), read_int(folder / "cpu.cfs_period_us")
        if quota is None:
            parts = (read_text(folder / "cpu.max") or "max").split()
            if len(parts) == 2 and all(part.isdecimal() for part in parts):
                quota, period = int(parts[0]), int(parts[1])
        if quota is not None and period and quota > 0:
            limits.append(quota / period)
    return min(limits, default=None)
