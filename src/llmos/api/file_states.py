"""What a model's files were before they were opened, so that it is seen when other ones take their place while it is loaded.

What is mapped stays the file that was opened, whatever its name leads to later: a name alone does not say what was read.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from llmos.weights import gguf_parts

__all__ = ["FileStates", "are_same", "file_states"]

State = tuple[int, ...]  # device, inode, size, when the bytes and when the inode changed, both in nanoseconds
FileStates = Mapping[Path, State]


def file_states(model: Path) -> FileStates:
    """The states of all files of a folder, or of a file and the parts that belong to it; those that cannot be seen are left out."""
    try:
        paths = [*model.iterdir()] if model.is_dir() else gguf_parts(model)
    except OSError:
        paths = []
    found = {path: _state(path) for path in paths}
    return {path: state for path, state in found.items() if state is not None}


def are_same(states: FileStates, paths: Iterable[Path]) -> bool:
    """Whether each of these files was there then, and its name leads to the same one, unchanged."""
    return all(path in states and _state(path) == states[path] for path in paths)


def _state(path: Path) -> State | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
