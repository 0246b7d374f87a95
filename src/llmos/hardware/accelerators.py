"""Accelerators: NVIDIA devices through NVML, the driver's own library, and every other through the PCI list of sysfs."""

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

from llmos.hardware.text_files import read_text

__all__ = ["Accelerator", "accelerators"]

_ROOT = Path("/")
_NVML = "nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1"
_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
_DISPLAY, _PROCESSING = "0x03", "0x12"  # PCI base classes, pcisig code and ID assignment


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """memory_bytes and free_bytes are None where the system does not say; usable: a driver answered for it."""

    vendor: str
    name: str
    memory_bytes: int | None = None
    free_bytes: int | None = None
    usable: bool = False


def accelerators(root: Path = _ROOT, nvml: str = _NVML) -> list[Accelerator]:
    """Accelerators of this machine, those that a driver answers for first. nvml: name of NVIDIA's management library."""
    answered = _nvidia(nvml)
    seen = _pci(root)
    return answered + [device for device in seen if not (answered and device.vendor == "NVIDIA")]


def _pci(root: Path) -> list[Accelerator]:
    found = []
    for folder in sorted(root.glob("sys/bus/pci/devices/*")):
        vendor = _VENDORS.get(read_text(folder / "vendor") or "")
        if vendor and (read_text(folder / "class") or "").startswith((_DISPLAY, _PROCESSING)):
            found.append(Accelerator(vendor=vendor, name=f"PCI device {read_text(folder / 'device')}"))
    return found


class _NvmlMemory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def _nvidia(nvml: str) -> list[Accelerator]:
    """Devices that NVIDIA's driver answers for. Source: NVML API reference, device queries."""
    try:
        library = ctypes.CDLL(nvml)
        if library.nvmlInit_v2() != 0:
            return []
    except (OSError, AttributeError):
        return []
    count = ctypes.c_uint()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    found = [_nvidia_device(library, index) for index in range(count.value)]
    library.nvmlShutdown()
    return [device for device in found if device is not None]


def _nvidia_device(library: ctypes.CDLL, index: int) -> Accelerator | None:
    handle, name, size = ctypes.c_void_p(), ctypes.create_string_buffer(96), _NvmlMemory()
    if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) != 0:
        return None
    library.nvmlDeviceGetName(handle, name, len(name))
    known = library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(size)) == 0
    return Accelerator(
        vendor="NVIDIA",
        name=name.value.decode(errors="replace"),
        memory_bytes=size.total if known else None,
        free_bytes=size.free if known else None,
        usable=True,
    )
