"""C++ headers that generated code is made of. This module only says where they are and what they are."""

import hashlib
from pathlib import Path

__all__ = ["include_dir", "sources_hash"]


def include_dir() -> Path:
    """The folder to put on the compiler's include path."""
    return Path(__file__).parent / "include"


def sources_hash() -> str:
    """SHA-256 over the names and bytes of all headers: part of the key of compiled code."""
    digest = hashlib.sha256()
    for path in sorted(include_dir().rglob("*.h")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
