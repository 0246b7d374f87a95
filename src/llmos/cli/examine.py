"""What is installed, what is missing, and how to get it."""

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import llmos
from llmos.compiler.toolchain import toolchain_id
from llmos.core.env import environment
from llmos.core.errors import LlmosError
from llmos.core.units import format_bytes
from llmos.models import DEFAULT_MODEL

__all__ = ["Finding", "examine_installation", "shadowing_module"]

_EXTRAS = {"torch": "train", "transformers": "dev", "pytest": "dev"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at. ok: it is as it should be; needed: without it models do not run; text: fact or advice."""

    name: str
    ok: bool
    text: str
    needed: bool = True


def examine_installation() -> list[Finding]:
    """Everything about this installation that decides what works."""
    return [_python(), _toolchain(), _cache(), _default_model(), _module(), *_extras(), *_offline()]


def shadowing_module(name: str = "llm") -> Path | None:
    """Another file that `import llm` finds before ours, None where ours is found."""
    ours = Path(llmos.__file__).resolve().parents[1] / f"{name}.py"
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).resolve()
    return None if found == ours else found


def _python() -> Finding:
    return Finding(name="python", ok=True, text=f"{sys.version.split()[0]}, llmos {llmos.__version__}")


def _toolchain() -> Finding:
    try:
        return Finding(name="toolchain", ok=True, text=toolchain_id())
    except LlmosError as error:
        return Finding(name="toolchain", ok=False, text=str(error))


def _cache() -> Finding:
    folder = environment().cache
    near = next(path for path in (folder, *folder.parents) if path.exists())
    if not near.is_dir() or not os.access(near, os.W_OK | os.X_OK):
        return Finding(name="cache", ok=False, text=f"{folder} cannot be written: set LLMOS_CACHE to a folder that can")
    return Finding(name="cache", ok=True, text=f"{folder}, {format_bytes(shutil.disk_usage(near).free)} free")


def _default_model() -> Finding:
    folder = Path(llmos.__file__).parent / "embedded" / DEFAULT_MODEL
    if not folder.is_dir():
        return Finding(
            name=DEFAULT_MODEL, ok=False, text="the embedded model is not in this installation: install llmos anew"
        )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Finding(name=DEFAULT_MODEL, ok=True, text=f"embedded, {format_bytes(size)}")


def _module() -> Finding:
    other = shadowing_module()
    if other is None:
        return Finding(name="import llm", ok=True, text="ours")
    text = f"finds {other}, a module of another package; `import llmos` works all the same, or: pip uninstall llm"
    return Finding(name="import llm", ok=False, text=text, needed=False)


def _extras() -> list[Finding]:
    found = []
    for package, extra in _EXTRAS.items():
        try:
            found.append(Finding(name=package, ok=True, text=metadata.version(package), needed=False))
        except metadata.PackageNotFoundError:
            text = f"not installed; for what needs it: pip install 'llmos[{extra}]'"
            found.append(Finding(name=package, ok=False, text=text, needed=False))
    return found


def _offline() -> list[Finding]:
    if not environment().offline:
        return []
    return [Finding(name="network", ok=False, text="LLMOS_OFFLINE is set: only local models are used", needed=False)]
