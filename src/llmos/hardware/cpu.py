"""The processor: its name and its instruction sets.

Features are the flags of /proc/cpuinfo. The kernel lists a flag only when it also saves the registers that the feature
needs, which a bare CPUID does not tell. Elsewhere than on Linux the set is empty and the portable target is used.
"""

import platform
from pathlib import Path

from llmos.hardware.text_files import read_text

__all__ = ["architecture", "features", "model_name"]

_ROOT = Path("/")


def architecture() -> str:
    """`x86_64`, `aarch64`, ... as the kernel calls it."""
    return platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64")


def features(root: Path = _ROOT) -> frozenset[str]:
    """Instruction set flags of the first processor, such as avx2, avx512_vnni, avx512_bf16. root: where /proc lies."""
    return frozenset((_field(root, "flags") or _field(root, "Features") or "").split())


def model_name(root: Path = _ROOT) -> str:
    """The processor's name as its maker gives it, or the architecture where it gives none."""
    return _field(root, "model name") or platform.processor() or architecture()


def _field(root: Path, name: str) -> str | None:
    for line in (read_text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
