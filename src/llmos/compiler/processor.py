"""The target that code for this machine is made for."""

from pathlib import Path

from llmos.compiler.code import cached_library, open_library
from llmos.compiler.targets import HERE, TARGETS, Target, target_named
from llmos.core.env import environment
from llmos.hardware import CPUID_SOURCE, architecture, asked_features, features

__all__ = ["chosen_target", "machine_features"]


def chosen_target(name: str | None = None) -> Target:
    """The target of that name, else that of LLMOS_TARGET, else the best of this machine. Raises as `target_named` does."""
    return target_named(name or environment().target, machine_features())


def machine_features() -> frozenset[str]:
    """The instruction sets of this machine's processor.

    Where the system does not list them (Windows), code that every processor runs asks it; that code is compiled at its first use
    where the installation did not bring it. Raises as `build_shared` does then.
    """
    listed = features()
    if listed or architecture() != "x86_64":
        return listed
    return asked_features(open_library(cpuid_library()))


def cpuid_library(system: str = HERE) -> Path:
    """The compiled CPUID_SOURCE."""
    return cached_library(CPUID_SOURCE.read_text(encoding="utf-8"), TARGETS["portable"].on(system))
