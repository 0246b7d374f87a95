"""Data caches, from the smallest to the largest."""

from dataclasses import dataclass
from pathlib import Path

from llmos.hardware.sysctl import Sysctl, sysctl
from llmos.hardware.text_files import read_int, read_text

__all__ = ["Cache", "caches"]

_ROOT = Path("/")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True, kw_only=True)
class Cache:
    """One data or unified cache of the first processor. shared_by: logical processors that share it."""

    level: int
    size_bytes: int
    line_bytes: int
    shared_by: int


def caches(root: Path = _ROOT, read: Sysctl = sysctl) -> list[Cache]:
    """The data caches of the first processor; empty where the system does not describe them."""
    found = []
    for folder in root.glob("sys/devices/system/cpu/cpu0/cache/index[0-9]*"):
        level, size = read_int(folder / "level"), _size(read_text(folder / "size"))
        if level is None or size is None or read_text(folder / "type") == "Instruction":
            continue
        shared_by = _count(read_text(folder / "shared_cpu_list") or "0")
        line_bytes = read_int(folder / "coherency_line_size") or 64
        found.append(Cache(level=level, size_bytes=size, line_bytes=line_bytes, shared_by=shared_by))
    return sorted(found, key=lambda cache: cache.level) or _told(read)


def _told(read: Sysctl) -> list[Cache]:
    """The same of macOS, which has no levels of unequal cores: those of the fast ones."""
    found = []
    for level, name in ((1, "l1dcachesize"), (2, "l2cachesize"), (3, "l3cachesize")):
        size = read(f"hw.perflevel0.{name}") or read(f"hw.{name}")
        line_bytes, shared_by = read("hw.cachelinesize"), read("hw.perflevel0.cpusperl2") if level == 2 else 1
        if isinstance(size, int) and size > 0:
            lines = line_bytes if isinstance(line_bytes, int) else 64
            found.append(
                Cache(
                    level=level,
                    size_bytes=size,
                    line_bytes=lines,
                    shared_by=shared_by if isinstance(shared_by, int) else 1,
                )
            )
    return found


def _size(text: str | None) -> int | None:
    if not text or not text.rstrip("KMG").isdecimal():
        return None
    return int(text.rstrip("KMG")) * _UNITS.get(text[-1], 1)


def _count(ranges: str) -> int:
    """Members of a kernel list such as `0-3,8`."""
    total = 0
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total
