"""Code in the local cache, keyed by everything that shapes it: source, target, flags, toolchain, kernels.

A library ends with a seal, the SHA-256 of what comes before it: the loader does not look past the tables of an ELF file, and
one file cannot disagree with itself as two could when processes compile at once. A library without its seal is damaged; the
system would map it and die of it, so it is compiled again.
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

__all__ = ["cached_library", "compile_code", "open_library"]

_SEAL = b"llmos code, sha256:"


def compile_code(
    graph: Graph,
    target: Target,
    *,
    include: Path,
    kernels_hash: str,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """The shared library of a graph for a target, from the cache or compiled now.

    include: folder of the kernel headers; kernels_hash: their digest.
    """
    return cached_library(emit(graph), target, include=(include,), key=(kernels_hash,), progress=progress)


def cached_library(
    source: str,
    target: Target,
    *,
    include: tuple[Path, ...] = (),
    key: tuple[str, ...] = (),
    progress: Callable[[str], None] | None = None,
) -> Path:
    """The shared library of a C++ text for a target, from the cache or compiled now. The text stays beside it for reading.

    include: folders of headers; key: the digests of what lies in them. Raises as `build_shared` does.
    """
    folder = environment().cache / "code"
    library = folder / f"{_name(source, target, key)}.so"
    if _is_whole(library):
        return library
    if progress:
        progress(f"compiling for {target.name}")
    text = library.with_suffix(".cc")
    with atomic_write(text) as file:
        file.write(source.encode())
    with tempfile.TemporaryDirectory(dir=make_directory(folder), prefix=f".{library.name}.") as scratch:
        built = Path(scratch) / "code.so"
        build_shared(text, built, target, include=include)
        code = built.read_bytes()
    with atomic_write(library) as file:
        file.write(code + _seal(code))
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
    parts = (source, target.name, target.cpu, toolchain_id(), *FLAGS, *key)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _seal(code: bytes) -> bytes:
    return _SEAL + hashlib.sha256(code).digest()


def _is_whole(library: Path) -> bool:
    """Whether the library is there and is what was once written."""
    try:
        data = library.read_bytes()
    except OSError:
        return False
    code = data[: -len(_seal(b""))]
    if data == code + _seal(code):
        return True
    get_logger("compiler").debug("%s is damaged: compiling again", library)
    return False
