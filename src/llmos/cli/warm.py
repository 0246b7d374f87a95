"""Pays beforehand for what a first use would pay: `llmos doctor --warm`, which `make run` calls."""

from collections.abc import Callable

from llmos.api.roofs import build_probe
from llmos.compiler import chosen_target

__all__ = ["warm_toolchain"]


def warm_toolchain(progress: Callable[[str], None]) -> None:
    """Lets the compiler make its own caches for this machine, and prepares the default model."""
    from llmos.api import load_model
    from llmos.models import DEFAULT_MODEL

    progress("preparing the compiler for its first use")
    build_probe(chosen_target())
    progress(f"preparing {DEFAULT_MODEL}")
    load_model(DEFAULT_MODEL).close()
