"""Checksums of a bundle's weights, kept in the cache once they were held to its hashes: comparing them is several times as fast."""

import hashlib
from pathlib import Path

import numpy as np

from llmos.api.image_key import files_key, is_settled
from llmos.api.images import images_folder
from llmos.api.source import Source
from llmos.artifact import Bundle, n_sums
from llmos.core.errors import LlmosError
from llmos.core.files import atomic_write
from llmos.core.log import get_logger

__all__ = ["bundle_sums", "keep_bundle_sums"]


def bundle_sums(source: Source, bundle: Bundle) -> np.ndarray | None:
    """The checksums that were kept of a bundle's weights when they were held to its hashes; None of another file or a new one."""
    try:
        data = _sums_path(source, bundle).read_bytes()
    except OSError:
        return None
    sums = np.frombuffer(data[32:], "<u8").astype(np.uint64) if len(data) % 8 == 0 and len(data) >= 32 else None
    if sums is None or hashlib.sha256(data[32:]).digest() != data[:32] or len(sums) != n_sums(bundle.weights_bytes):
        return None
    return sums


def keep_bundle_sums(source: Source, bundle: Bundle, sums: np.ndarray) -> None:
    """Keep them where that can be done: it makes the next load faster and nothing more.

    Only of a bundle that has its name for good: another name, or another folder, makes it another file.
    """
    if not is_settled(source):
        return
    data = sums.astype("<u8").tobytes()
    try:
        with atomic_write(_sums_path(source, bundle)) as file:
            file.write(hashlib.sha256(data).digest() + data)
    except (LlmosError, OSError) as error:
        get_logger("images").debug("%s", error)


def _sums_path(source: Source, bundle: Bundle) -> Path:
    return images_folder() / f"{files_key(source, bundle.manifest['sha256']['weights.bin'])}.sums"
