"""What macOS says of itself: the values of sysctl, by name. Elsewhere there are none."""

import ctypes
import os
from collections.abc import Callable

__all__ = ["Sysctl", "sysctl"]

Sysctl = Callable[[str], int | str | None]


def sysctl(name: str) -> int | str | None:
    """A number, a text, or None where the system has no such value. Source: sysctlbyname(3)."""
    read = _sysctlbyname()
    if read is None:
        return None
    size = ctypes.c_size_t(0)
    if read(name.encode(), None, ctypes.byref(size), None, 0) != 0:
        return None
    value = ctypes.create_string_buffer(size.value)
    if read(name.encode(), value, ctypes.byref(size), None, 0) != 0:
        return None
    return _decoded(value.raw[: size.value])


def _sysctlbyname():
    return getattr(ctypes.CDLL(None), "sysctlbyname", None) if os.name == "posix" else None


def _decoded(data: bytes) -> int | str:
    """A text ends with a zero byte and begins with something to read; numbers are 4 or 8 bytes, in the processor's order."""
    text = data.rstrip(b"\0")
    if len(data) in (4, 8) and not (len(text) == len(data) - 1 and text.isascii() and text.decode().isprintable()):
        return int.from_bytes(data, "little")
    return text.decode(errors="replace")
