"""Code in the local cache, keyed by everything that shapes it: graph, passes, target, toolchain, kernels.

A library ends with a seal, the SHA-256 of what comes before it: the loader does not look past the tables of an ELF file, and
one file cannot disagree with itself as two could when processes compile at once. A library without its seal is damaged; the
system would map it and die of it, so it is compiled again.
"""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from llmos.compiler.emit import emit
from llmos.compiler.graph import Graph
from llmos.compiler.targets import Target
from llmos.compiler.toolchain import FLAGS, build_shared, toolchain_id
from llmos.core.env import environment
from llmos.core.files import atomic_write, make_directory
from llmos.core.log import get_logger

__all__ = ["code_key", "compile_code"]

_SEAL = b"llmos code, sha256:"


def code_key(graph: Graph, target: Target, kernels_hash: str) -> str:
    """Hex digest naming the library: of the generated source, the kernels, the flags and the compiler."""
    parts = (emit(graph), target.name, target.cpu, toolchain_id(), *FLAGS, kernels_hash)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def compile_code(
    graph: Graph,
    target: Target,
    *,
    include: Path,
    kernels_hash: str,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """The shared library of a graph for a target, from the cache or compiled now.

    include: folder of the kernel headers; kernels_hash: their digest. The source stays beside the library for reading.
    """
    folder = environment().cache / "code"
    library = folder / f"{code_key(graph, target, kernels_hash)}.so"
    if _is_whole(library):
        return library
    if progress:
        progress(f"compiling for {target.name}")
    source = library.with_suffix(".cc")
    with atomic_write(source) as file:
        file.write(emit(graph).encode())
    with tempfile.TemporaryDirectory(dir=make_directory(folder), prefix=f".{library.name}.") as scratch:
        built = Path(scratch) / "code.so"
        build_shared(source, built, target, include=(include,))
        code = built.read_bytes()
    with atomic_write(library) as file:
        file.write(code + _seal(code))
    return library


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
