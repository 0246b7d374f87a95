"""Images of packed weights in the cache: found by key, made in a stream, the least used removed where they take too much.

Loading never depends on them: what is damaged is removed and made again, and where none can be kept a checkpoint is packed
each time.
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmos.api.assemble import weights_bytes, write_weights
from llmos.api.image_key import image_key, is_settled
from llmos.api.options import formats_of
from llmos.api.source import Source
from llmos.artifact import (
    ImageWriter,
    PackedBytes,
    image_bytes,
    image_facts,
    open_image,
    part_files,
    remove_part,
    writing,
)
from llmos.compiler import Graph, Options
from llmos.core.env import environment
from llmos.core.errors import FormatError, ResourceError, UserError
from llmos.core.files import make_directory
from llmos.core.log import get_logger
from llmos.core.units import format_bytes
from llmos.runtime import native_checksum, native_packer

__all__ = [
    "Images",
    "StoredImage",
    "check_bundle_disk",
    "has_room",
    "images_folder",
    "remove_images",
    "stored_images",
]

_SUFFIX = ".image"
_SPARE_BYTES = 1 << 30  # of the disk, which an image may not take
_LEFT_S = 14 * 24 * 3600.0  # how long what a killed writer left is kept, and checksums of bundles


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of a source in certain formats. library: its compiled code, which packs and checks; beside: the
    bundle that is made, beside which one lies in place of the cache, without a limit.
    """

    source: Source
    options: Options
    graph: Graph
    library: Path
    beside: Path | None = None

    def find(self) -> PackedBytes | None:
        """The image that is there; one that is damaged is removed."""
        key = image_key(self.source, self.options, self.graph)
        path = self._path(key)
        try:
            found = open_image(path, key, weights_bytes(self.graph))
        except FileNotFoundError:
            return None
        except (FormatError, OSError, ValueError) as error:
            self.remove(path, str(error))
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # what is used is kept
        return found

    def make(self, progress: Callable[[int, int], None] | None = None) -> PackedBytes:
        """Pack the weights into an image, going on with what was left, and return it.

        Raises ResourceError where the disk or the room for images is too small, UserError for values that a format cannot hold
        and where the cache cannot be written.
        """
        source = self.source
        assert source.parameters is not None, "what has no parameters is packed already"
        key = image_key(source, self.options, self.graph)
        if not is_settled(source):
            raise ResourceError("its files were changed in the future: set the clock of this machine, or copy them")
        n_bytes, path = weights_bytes(self.graph), self._path(key)
        if self.beside is None:
            _make_room(path, image_bytes(n_bytes))
        facts = {"key": key, "model": str(source.resolved.display), "formats": formats_of(self.options)}
        checksum, pack_rows = native_checksum(self.library), native_packer(self.library)
        with writing(path, facts, n_bytes, checksum) as writer:
            if writer is not None:
                release = source.parameters.checkpoint.release
                write_weights(self.graph, source.parameters, writer, progress, pack_rows, release)
                self._check_unchanged(key, writer)
        try:
            return open_image(path, key, n_bytes)
        except (FormatError, OSError) as error:  # others make room, and users clear the cache
            raise ResourceError(f"{path} cannot be read again: {error}") from error

    def _check_unchanged(self, key: str, writer: ImageWriter) -> None:
        with contextlib.suppress(ResourceError):
            if image_key(self.source, self.options, self.graph) == key:
                return
        writer.discard()
        raise ResourceError("its files were changed while they were read")

    def _path(self, key: str) -> Path:
        return _cached(key) if self.beside is None else _beside(self.beside, key)

    def remove(self, path: Path, why: str) -> None:
        get_logger("images").warning("%s: packing the weights again", why)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def check_bundle_disk(source: Source, options: Options, graph: Graph, bundle: Path) -> None:
    """Raise ResourceError where the disk of a bundle has no room for it and, without an image in the cache, one beside it."""
    key, n_bytes = image_key(source, options, graph), weights_bytes(graph)
    cached = _cached(key).exists()
    beside = 0 if cached else image_bytes(n_bytes) - _begun_bytes(_beside(bundle, key))
    _check_disk(bundle.absolute().parent, n_bytes + beside)


def _cached(key: str) -> Path:
    return images_folder() / f"{key}{_SUFFIX}"


def _beside(bundle: Path, key: str) -> Path:
    """Where an image lies while a bundle is made; another bundle of the same weights may be made in that folder."""
    name = hashlib.sha256(bundle.name.encode()).hexdigest()[:8]
    return bundle.absolute().with_name(f".{key}-{name}{_SUFFIX}")


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """A file of the cache. model, formats: whose weights these are, None of one that is not finished or damaged; used_s: when it was
    used last, in seconds since 1970.
    """

    path: Path
    n_bytes: int
    used_s: float
    model: str | None = None
    weights: str | None = None


def stored_images(facts: bool = True) -> list[StoredImage]:
    """The images that there are and what unfinished ones take, the least used first. facts: look into them for whose they are."""
    found = []
    for path in _files():
        with contextlib.suppress(OSError):
            stat, about = path.stat(), _facts(path) if facts else {}
            n_bytes = _disk_bytes(stat)
            model, weights = about.get("model"), about.get("formats", {}).get("weights")
            found.append(StoredImage(path=path, n_bytes=n_bytes, used_s=stat.st_mtime, model=model, weights=weights))
    return sorted(found, key=lambda image: image.used_s)


def remove_images() -> int:
    """Remove every image, and what killed writers left, and return how many bytes they took.

    What a process reads of them stays readable; what one writes now stays.
    """
    found = sorted(stored_images(facts=False), key=lambda image: image.path.suffix == ".journal")  # parts before them
    n_bytes = 0
    for image in found:
        with contextlib.suppress(OSError):  # another user's, or one that Windows has open: the others go
            n_bytes += image.n_bytes if _removed(image.path) else 0
    return n_bytes


def _removed(path: Path) -> bool:
    """Remove a file of the cache; False of what is being written."""
    if path.suffix == ".part":
        return remove_part(path)
    if path.suffix == ".journal" and path.with_suffix(".part").exists():
        return False
    path.unlink(missing_ok=True)
    return True


def _facts(path: Path) -> dict[str, Any]:
    try:
        return image_facts(path)
    except (FormatError, OSError, ValueError):
        return {}


def has_room(n_bytes: int) -> bool:
    """Whether an image of so many bytes of weights may be in the cache, others making room for it."""
    taken = sum(image.n_bytes for image in stored_images(facts=False))
    folder = environment().cache
    while not folder.exists():
        folder = folder.parent
    return image_bytes(n_bytes) <= min(
        environment().images_bytes, shutil.disk_usage(folder).free + taken - _SPARE_BYTES
    )


def _make_room(path: Path, n_bytes: int) -> None:
    """Remove images until one of n_bytes may be added. Raises ResourceError where it may not be even so."""
    limit = environment().images_bytes
    if n_bytes > limit:
        raise ResourceError(
            f"packed weights take {format_bytes(n_bytes)}; LLMOS_IMAGES allows {format_bytes(limit)} in the cache"
        )
    try:
        make_directory(path.parent)
    except UserError as error:
        raise ResourceError(str(error)) from error
    mine = {path, *part_files(path)}
    others = [image for image in stored_images(facts=False) if image.path not in mine]
    for image in others:
        unfinished = image.path.suffix != _SUFFIX
        old = unfinished and time.time() - image.used_s > _LEFT_S
        over = sum(other.n_bytes for other in others if other.path.exists()) + n_bytes > limit
        if old or (over and not unfinished):
            with contextlib.suppress(OSError):
                _removed(image.path)
    _check_disk(path.parent, n_bytes - _begun_bytes(path))


def _check_disk(folder: Path, n_bytes: int) -> None:
    """Raise ResourceError where the disk of a folder has no room for n_bytes more."""
    free = shutil.disk_usage(make_directory(folder)).free
    if free < n_bytes + _SPARE_BYTES:
        raise ResourceError(
            f"packed weights take {format_bytes(n_bytes)} more in {folder}, and the disk has {format_bytes(free)} free"
        )


def _begun_bytes(path: Path) -> int:
    """What is on the disk of an image, finished or not."""
    n_bytes = 0
    for part in (path, *part_files(path)):
        with contextlib.suppress(FileNotFoundError):  # others finish and remove them
            n_bytes += _disk_bytes(part.stat())
    return n_bytes


def _files() -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (
            path for path in images_folder().iterdir() if path.suffix in (_SUFFIX, ".part", ".journal", ".sums")
        )


def images_folder() -> Path:
    """Where images lie, and checksums of bundles."""
    return environment().cache / "weights"


def _disk_bytes(found: os.stat_result) -> int:
    """What a file takes on the disk: an unfinished one has holes."""
    return 512 * found.st_blocks if hasattr(found, "st_blocks") else found.st_size
