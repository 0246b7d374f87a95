"""What code is made for: an instruction set of an architecture, on an operating system.

A target decides the compiler's flags, never the layout of weights. The table is of instruction sets; each is there on every
system that its architecture runs, and `TARGETS` holds them for the system at hand.
"""

import sys
from dataclasses import dataclass, replace

from llmos.core.errors import UserError
from llmos.hardware import architecture as machine_architecture

__all__ = ["HERE", "SYSTEMS", "TARGETS", "Target", "target_named"]


@dataclass(frozen=True, kw_only=True)
class System:
    """abi: the end of a target triple, with the oldest version that the code runs on; suffix: of a shared library's name.

    link: flags without which a library would hold names of the machine that it was made on.
    """

    abi: str
    suffix: str
    link: tuple[str, ...] = ()


SYSTEMS = {
    "linux": System(abi="linux-gnu.2.17", suffix=".so"),
    "macos": System(abi="macos.13.0-none", suffix=".dylib", link=("-s", "-Wl,-install_name,llmos")),
    "windows": System(abi="windows-gnu", suffix=".dll", link=("-s",)),
}
# The system that this process runs on.
HERE = {"darwin": "macos", "win32": "windows"}.get(sys.platform, "linux")


@dataclass(frozen=True, kw_only=True)
class Target:
    """name: as users write it; cpu: the toolchain's -mcpu with the features that the kernels use; system: of `SYSTEMS`."""

    name: str
    architecture: str
    cpu: str
    needs: frozenset[str]  # features, as Linux calls them, without which the code would not run
    system: str = HERE

    @property
    def triple(self) -> str:
        """Architecture, system and its version, as the toolchain writes them."""
        return f"{self.architecture}-{SYSTEMS[self.system].abi}"

    @property
    def suffix(self) -> str:
        """How the name of a shared library ends on the target's system."""
        return SYSTEMS[self.system].suffix

    @property
    def link(self) -> tuple[str, ...]:
        """Flags of the linker that are the system's."""
        return SYSTEMS[self.system].link

    def runs_with(self, features: frozenset[str]) -> bool:
        """Whether this machine's processor, which has `features`, runs the code."""
        return self.architecture == machine_architecture() and self.needs <= features

    def on(self, system: str) -> "Target":
        """The same instruction set on another system."""
        return replace(self, system=system)


_V3 = frozenset({"avx2", "fma", "bmi2", "f16c"})
_V4 = _V3 | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"}

# Within an architecture from the least to the most able: the last one that a machine can run is the best.
TARGETS = {
    target.name: target
    for target in (
        Target(name="portable", architecture="x86_64", cpu="x86_64", needs=frozenset()),
        Target(name="x86-64-v3", architecture="x86_64", cpu="x86_64_v3", needs=_V3),
        Target(name="x86-64-v4", architecture="x86_64", cpu="x86_64_v4", needs=_V4),
        Target(
            name="x86-64-v4-vnni",
            architecture="x86_64",
            cpu="x86_64_v4+avx512vnni",
            needs=_V4 | {"avx512_vnni"},
        ),
        Target(
            name="x86-64-v4-vnni-bf16",
            architecture="x86_64",
            cpu="x86_64_v4+avx512vnni+avx512bf16",
            needs=_V4 | {"avx512_vnni", "avx512_bf16"},
        ),
        Target(name="aarch64-portable", architecture="aarch64", cpu="generic", needs=frozenset()),
        Target(name="aarch64-dotprod", architecture="aarch64", cpu="generic+dotprod", needs=frozenset({"asimddp"})),
    )
}


def target_named(name: str | None, features: frozenset[str], architecture: str | None = None) -> Target:
    """The target of that name, or the best that `features` (names as in Linux's /proc/cpuinfo) can run.

    `portable` is what every processor of the architecture runs; `x86-64-v4` takes VNNI and BF16 where they are present.
    architecture: None is this machine's. Raises UserError for a name that is unknown or that this machine cannot run.
    """
    architecture = architecture or machine_architecture()
    native = [target for target in TARGETS.values() if target.architecture == architecture]
    if not native:
        known = ", ".join(sorted({target.architecture for target in TARGETS.values()}))
        raise UserError(f"no code can be made for a processor of the architecture {architecture}; known: {known}")
    able = [target for target in native if target.needs <= features]
    if name is None:
        return able[-1]
    if name == "portable":
        return able[0]
    if name not in TARGETS:
        raise UserError(f"target {name!r} is not known; allowed: {', '.join(target.name for target in native)}")
    chosen = [
        target for target in able if target.name == name or (name == "x86-64-v4" and target.name.startswith(name))
    ]
    if not chosen:
        raise UserError(f"this machine cannot run target {name}: {_lack(TARGETS[name], architecture, features)}")
    return chosen[-1]


def _lack(target: Target, architecture: str, features: frozenset[str]) -> str:
    if target.architecture != architecture:
        return f"it is for {target.architecture}, and the processor is {architecture}"
    return f"its processor lacks {', '.join(sorted(target.needs - features))}"
