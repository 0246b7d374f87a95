"""Main memory: what there is and what this process can still take, its cgroup's limit included."""

import mmap
from dataclasses import dataclass
from pathlib import Path

from llmos.hardware.cgroups import cgroup_folders
from llmos.hardware.foreign_memory import foreign_memory
from llmos.hardware.text_files import read_int, read_text

__all__ = ["Memory", "memory", "resident_bytes"]

_ROOT = Path("/")
_UNLIMITED = 2**60  # cgroup version 1 writes "no limit" as a number near 2**63


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes. limit: the smallest cgroup limit on this process, None without one."""

    total: int
    available: int
    limit: int | None


def memory(root: Path = _ROOT) -> Memory:
    """Memory of the machine and of this process's cgroup. `available` counts page cache that the kernel would give up."""
    total, available = _machine(root)
    limits = []
    for folder in cgroup_folders("memory", root):
        limit = read_int(folder / "memory.max") or read_int(folder / "memory.limit_in_bytes")
        if limit is not None and limit < min(total, _UNLIMITED):
            limits.append(limit)
            available = min(available, max(0, limit - _in_use(folder)))
    return Memory(total=total, available=available, limit=min(limits, default=None))


def _machine(root: Path) -> tuple[int, int]:
    fields = {}
    for line in (read_text(root / "proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if value.split() and value.split()[0].isdecimal():
            fields[name] = int(value.split()[0]) * 1024
    if "MemTotal" not in fields:
        return foreign_memory()
    return fields["MemTotal"], fields.get("MemAvailable", fields["MemTotal"])


def _in_use(folder: Path) -> int:
    """Bytes charged to a cgroup that it cannot drop: all but its inactive page cache."""
    charged = read_int(folder / "memory.current") or read_int(folder / "memory.usage_in_bytes") or 0
    for line in (read_text(folder / "memory.stat") or "").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file") and value.isdecimal():
            return max(0, charged - int(value))
    return charged


def resident_bytes(root: Path = _ROOT) -> int:
    """Memory that this process takes now, as the system counts it: its own pages and those of mapped files; 0 where unknown."""
    fields = (read_text(root / "proc/self/statm") or "").split()
    return int(fields[1]) * mmap.PAGESIZE if len(fields) > 1 else 0
