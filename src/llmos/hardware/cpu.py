"""The processor: its name and its instruction sets, by the names of Linux on every system.

On Linux they are the flags of /proc/cpuinfo. The kernel lists a flag only when it also saves the registers that the feature
needs, which a bare CPUID does not tell. macOS tells by sysctl. Windows tells too little; there `CPUID_SOURCE`, once somebody has
compiled it, asks the processor and the system's mask of saved registers.
"""

import ctypes
import platform
from pathlib import Path

from llmos.hardware.sysctl import Sysctl, sysctl
from llmos.hardware.text_files import read_text

__all__ = ["CPUID_SOURCE", "architecture", "asked_features", "features", "model_name"]

CPUID_SOURCE = Path(__file__).with_name("cpuid.cc")
# In the order of the bits of cpuid.cc.
CPUID_FEATURES = [
    "avx2",
    "fma",
    "bmi2",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx512cd",
    "avx512_vnni",
    "avx512_bf16",
]
_SYSCTLS = {
    "hw.optional.AdvSIMD": "asimd",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.avx2_0": "avx2",
    **{f"hw.optional.{name}": name for name in CPUID_FEATURES[1:9]},
    "hw.optional.avx512vnni": "avx512_vnni",
    "hw.optional.avx512bf16": "avx512_bf16",
}
_ROOT = Path("/")


def architecture() -> str:
    """`x86_64`, `aarch64`, ... as the kernel calls it."""
    return platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64")


def features(root: Path = _ROOT, read: Sysctl = sysctl) -> frozenset[str]:
    """Instruction sets of the first processor, such as avx2, avx512_vnni, asimddp; empty where the system does not say."""
    flags = _field(root, "flags") or _field(root, "Features")
    if flags is not None:
        return frozenset(flags.split())
    return frozenset(feature for name, feature in _SYSCTLS.items() if read(name) == 1)


def asked_features(probe: ctypes.CDLL) -> frozenset[str]:
    """The features that the targets need, as compiled CPUID_SOURCE finds them."""
    probe.llmos_cpuid_features.restype = ctypes.c_uint32
    found = probe.llmos_cpuid_features()
    return frozenset(name for i, name in enumerate(CPUID_FEATURES) if found >> i & 1)


def model_name(root: Path = _ROOT, read: Sysctl = sysctl) -> str:
    """The processor's name as its maker gives it, or the architecture where it gives none."""
    return (
        _field(root, "model name") or _text(read("machdep.cpu.brand_string")) or platform.processor() or architecture()
    )


def _text(value: int | str | None) -> str | None:
    return value if isinstance(value, str) else None


def _field(root: Path, name: str) -> str | None:
    for line in (read_text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
