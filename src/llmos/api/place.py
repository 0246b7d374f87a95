"""How a program comes by its weights: read into huge pages (`fast`), or mapped from a file that processes share (`mapped`).

A large checkpoint is packed once, into an image in the cache (`api.images`); a bundle is one already. The first time that a
bundle is read, its bytes are held to the hashes in it, and checksums of them are kept, which later loads compare: they are
several times as fast.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from llmos.api.bundle_sums import bundle_sums, keep_bundle_sums
from llmos.api.images import Images
from llmos.api.notice import ModelNotice
from llmos.api.opening import open_source
from llmos.api.source import Source, percent
from llmos.artifact import Bundle, Checksum, PackedBytes, checksums, map_packed, read_packed
from llmos.compiler import Graph, Options
from llmos.core.env import environment
from llmos.core.errors import FormatError, ResourceError, UserError
from llmos.hardware import memory, usable_cores
from llmos.runtime import native_checksum

__all__ = ["KEPT_FROM_BYTES", "Placement", "keep_sums_of", "keeps_images"]

T = TypeVar("T")
KEPT_FROM_BYTES = 32 << 20  # of a checkpoint: a smaller one is packed as fast as an image is read


def keeps_images(source: Source, packed_bytes: int) -> bool:
    """Whether the packed weights of a source are kept in the cache: those that are rounded, or made of codes or sums.

    Numbers that keep their format are only put into another order, at a third of the speed of reading an image; a first load that
    writes as many bytes as the checkpoint has would take several times as long, and the disk would hold it twice.
    """
    if source.parameters is None or not environment().images_bytes:
        return False
    stored_bytes = sum(path.stat().st_size for path in source.mapped)
    return stored_bytes >= KEPT_FROM_BYTES and (source.converted or packed_bytes < 0.75 * stored_bytes)


def keep_sums_of(path: Path, sums: np.ndarray) -> None:
    """Keep the checksums of a bundle that was held to its hashes before it got its name, where loading would keep them."""
    source = open_source(str(path))
    if source.bundle is not None and source.bundle.weights_bytes >= KEPT_FROM_BYTES:
        keep_bundle_sums(source, source.bundle, sums)


@dataclass(kw_only=True)
class Placement:
    """The weights of one model, placed once: then the source, whose files would stay mapped otherwise, is let go of.

    keep_sums: whether checksums of a bundle are kept, which one that has not its name yet would not find again.
    """

    source: Source | None
    options: Options
    graph: Graph
    library: Path
    progress: Callable[[str], None] | None = None
    keep_sums: bool = True
    _checksum: Checksum = field(init=False)

    def __post_init__(self) -> None:
        self._checksum = native_checksum(self.library)

    def fill(self, out: memoryview) -> None:
        """Put the packed weights into `out`."""
        source = self._take()
        if source.bundle is not None:
            return self._fill_from_bundle(source, source.bundle, out)
        if keeps_images(source, len(out)):
            try:
                return self._from_image(source, lambda packed: self._read(packed, out))
            except ResourceError as error:
                warnings.warn(
                    f"packed weights are not kept: {error}; the checkpoint is packed at each load",
                    ModelNotice,
                    stacklevel=2,
                )
            np.frombuffer(out, np.uint8)[:] = 0  # packing leaves gaps, and a damaged image may have been read here
        source.fill(self.graph, self.library, out, self.progress)

    def map(self) -> np.ndarray:
        """The packed weights in pages of a file. Raises ResourceError where there is no such file and none can be made."""
        source = self._take()
        if source.bundle is not None:
            return self._map_bundle(source, source.bundle)
        return self._from_image(source, lambda packed: map_packed(packed, self._checksum))

    def _take(self) -> Source:
        source, self.source = self.source, None
        assert source is not None, "a program's weights are placed once"
        return source

    def _from_image(self, source: Source, take: Callable[[PackedBytes], T]) -> T:
        """What `take` makes of the image of a checkpoint, which is made where there is none or a damaged one.

        Raises ResourceError where none can be kept and read.
        """
        images = Images(source=source, options=self.options, graph=self.graph, library=self.library)
        report = percent(self.progress, "packing weights")
        found = images.find() or images.make(report)
        try:
            try:
                return take(found)
            except FormatError as error:
                images.remove(found.path, str(error))
            return take(images.make(report))
        except ResourceError:
            raise
        except UserError as error:  # others make room, disks fail, and a process may open only so many files
            raise ResourceError(str(error)) from error

    def _read(self, packed: PackedBytes, out: memoryview) -> None:
        """Read into place. What is read is dropped from the cache of files only where memory is short: else loading again
        would wait for the disk, and the system gives that memory to whoever asks for it anyway."""
        short = memory().available < 2 * packed.n_bytes
        report = percent(self.progress, "reading weights")
        read_packed(packed, out, self._checksum, threads=usable_cores(), drop_behind=short, progress=report)

    def _fill_from_bundle(self, source: Source, bundle: Bundle, out: memoryview) -> None:
        sums = bundle_sums(source, bundle) if bundle.weights_bytes >= KEPT_FROM_BYTES else None
        if sums is not None:
            return self._read(bundle.packed(sums), out)
        bundle.read_weights_into(out, percent(self.progress, "reading weights"), threads=usable_cores())
        if self._keeps_sums(bundle):
            found = checksums(bundle.packed(), self._checksum, threads=usable_cores(), held=out)
            keep_bundle_sums(source, bundle, found)

    def _map_bundle(self, source: Source, bundle: Bundle) -> np.ndarray:
        packed = bundle.packed(bundle_sums(source, bundle))
        if packed.offset % 64:
            raise UserError(f"{bundle.path} cannot be mapped: its weights do not begin at a multiple of 64 bytes")
        if not len(packed.sums):
            bundle.check_weights(percent(self.progress, "checking weights"), threads=usable_cores())
            packed = bundle.packed(checksums(packed, self._checksum, threads=usable_cores()))
            if self._keeps_sums(bundle):
                keep_bundle_sums(source, bundle, packed.sums)
        return map_packed(packed, self._checksum)

    def _keeps_sums(self, bundle: Bundle) -> bool:
        return self.keep_sums and bundle.weights_bytes >= KEPT_FROM_BYTES
