"""Main memory where there is no /proc: macOS by its Mach calls, Windows by its own, any other POSIX system by sysconf."""

import ctypes
import mmap
import os

from llmos.hardware.sysctl import Sysctl, sysctl

__all__ = ["foreign_memory"]


def foreign_memory(read: Sysctl = sysctl) -> tuple[int, int]:
    """Bytes of main memory, and of those that can be had; as many where the system does not say."""
    windows = getattr(ctypes, "windll", None)
    if windows is not None:
        return _windows(windows)
    total = read("hw.memsize")
    if isinstance(total, int):
        return total, _mach_available() or total
    total = mmap.PAGESIZE * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return total, total


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of sysinfoapi.h."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        *((name, ctypes.c_uint64) for name in ("total", "available", "total_page_file", "page_file")),
        *((name, ctypes.c_uint64) for name in ("total_virtual", "virtual", "extended_virtual")),
    )


def _windows(windows) -> tuple[int, int]:
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status.total, status.available


_HOST_VM_INFO64, _WORDS = 4, 38  # mach/host_info.h: the flavour, and vm_statistics64 in words of 32 bits


def _mach_available() -> int | None:
    """Free and inactive pages, which the system gives up when asked. The first words are free, active, inactive, wired."""
    library = ctypes.CDLL(None)
    words, count = (ctypes.c_uint32 * _WORDS)(), ctypes.c_uint32(_WORDS)
    library.mach_host_self.restype = ctypes.c_uint32
    if library.host_statistics64(library.mach_host_self(), _HOST_VM_INFO64, words, ctypes.byref(count)) != 0:
        return None
    return (words[0] + words[2]) * mmap.PAGESIZE
