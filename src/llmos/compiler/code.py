"""Code in the local cache, keyed by everything that shapes it: graph, passes, target, toolchain, kernels."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from llmos.compiler.emit import emit
from llmos.compiler.graph import Graph
from llmos.compiler.targets import Target
from llmos.compiler.toolchain import FLAGS, build_shared, toolchain_id
from llmos.core.env import environment
from llmos.core.files import atomic_write

__all__ = ["code_key", "compile_code"]


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
    if library.exists():
        return library
    if progress:
        progress(f"compiling for {target.name}")
    source = library.with_suffix(".cc")
    with atomic_write(source) as file:
        file.write(emit(graph).encode())
    build_shared(source, library, target, include=(include,))
    return library
