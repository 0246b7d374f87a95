"""Code by content: brought by the installation, in the local cache, or compiled now. The key is everything that shapes it: source, target, flags, toolchain, kernels. So code that was built for another version is never used.

The name of a library is its key and the SHA-256 of its bytes, so that one file says what it is and whether it is whole: two
files could disagree when processes compile at once, and bytes behind the code would break the signature without which macOS
loads nothing. A library that is not what its name says is damaged; the system would map it and die of it, so it is compiled
again.
"""

import ctypes
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from llmos.compiler.emit import emit
from llmos.compiler.graph import Graph
from llmos.compiler.targets import Target
from llmos.compiler.toolchain import FLAGS, build_shared, toolchain_id
from llmos.core.env import environment
from llmos.core.errors import UserError
from llmos.core.files import atomic_write, make_directory
from llmos.core.log import get_logger

__all__ = ["PREBUILT", "cached_library", "compile_code", "open_library"]

PREBUILT = Path(__file__).parents[1] / "prebuilt"  # what a wheel brings for its platform; a checkout has none


def compile_code(
    graph: Graph,
    target: Target,
    *,
    include: Path,
    kernels_hash: str,
    timed: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """The shared library of a graph for a target, from the cache or compiled now.

    include: folder of the kernel headers; kernels_hash: their digest. timed: one that notes where its time goes (`emit`).
    """
    return cached_library(emit(graph, timed=timed), target, include=(include,), key=(kernels_hash,), progress=progress)


def cached_library(
    source: str,
    target: Target,
    *,
    include: tuple[Path, ...] = (),
    key: tuple[str, ...] = (),
    progress: Callable[[str], None] | None = None,
) -> Path:
    """The shared library of a C++ text for a target: one that the installation brought, from the cache, or compiled now.

    The text of what is compiled stays beside it for reading. include: folders of headers; key: the digests of what lies in
    them. Raises as `build_shared` does.
    """
    folder = environment().cache / "code"
    name = _name(source, target, key)
    found = _whole(PREBUILT, name, target) or _whole(folder, name, target)
    if found is not None:
        return found
    if progress:
        progress(f"compiling for {target.name}")
    text = folder / f"{name}.cc"
    with atomic_write(text) as file:
        file.write(source.encode())
    with tempfile.TemporaryDirectory(dir=make_directory(folder), prefix=f".{name}.") as scratch:
        built = Path(scratch) / f"code{target.suffix}"
        build_shared(text, built, target, include=include)
        code = built.read_bytes()
    library = folder / f"{name}.{_digest(code)}{target.suffix}"
    with atomic_write(library) as file:
        file.write(code)
    return library


def open_library(library: Path) -> ctypes.CDLL:
    """A library of the cache, loaded. Raises UserError where the system does not load it."""
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise UserError(
            f"compiled code cannot be loaded: {error}; where its folder may not hold programs (mounted noexec), set "
            f"LLMOS_CACHE to one that may"
        ) from error


def _name(source: str, target: Target, key: tuple[str, ...]) -> str:
    parts = (source, target.name, target.triple, target.cpu, toolchain_id(), *FLAGS, *key)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _whole(folder: Path, name: str, target: Target) -> Path | None:
    """The library of a key that is there and is what its name says."""
    for library in sorted(folder.glob(f"{name}.*{target.suffix}")):
        try:
            if library.name == f"{name}.{_digest(library.read_bytes())}{target.suffix}":
                return library
        except OSError:
            continue
        get_logger("compiler").debug("%s is damaged: compiling again", library)
    return None


def _digest(code: bytes) -> str:
    return hashlib.sha256(code).hexdigest()[:32]
