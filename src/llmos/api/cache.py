"""What LLMOS keeps on the disk to start faster: compiled code and packed weights. All of it can be made again."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from llmos.api.images import StoredImage, remove_images, stored_images
from llmos.core.env import environment

__all__ = ["Cache", "clear_cache", "read_cache"]

PARTS = ("code", "weights", "all")


@dataclass(frozen=True, kw_only=True)
class Cache:
    """code_files, code_bytes: compiled code, with its texts; images: packed weights, the least used first; limit_bytes: what they may
    take, 0 where none are kept.
    """

    folder: Path
    code_files: int
    code_bytes: int
    images: tuple[StoredImage, ...]
    limit_bytes: int


def read_cache() -> Cache:
    """What there is now."""
    code = _code()
    return Cache(
        folder=environment().cache,
        code_files=len(code),
        code_bytes=sum(code.values()),
        images=tuple(stored_images()),
        limit_bytes=environment().images_bytes,
    )


def clear_cache(part: str) -> int:
    """Remove code, weights, or all of it; returns how many bytes that were. Running models keep what they have loaded."""
    freed = remove_images() if part in ("weights", "all") else 0
    if part in ("code", "all"):
        for path, n_bytes in _code().items():
            with contextlib.suppress(OSError):
                path.unlink()
                freed += n_bytes
    return freed


def _code() -> dict[Path, int]:
    found = {}
    for path in (environment().cache / "code").glob("*.*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                found[path] = path.stat().st_size
    return found
