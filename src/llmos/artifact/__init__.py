"""Files of compiled models: the bundle, and the images of packed weights in the cache. What they are, not how to make or run one."""

from llmos.artifact.bundle import Bundle, open_bundle, write_bundle
from llmos.artifact.image import ImageWriter, image_bytes, image_facts, open_image, part_files, remove_part, writing
from llmos.artifact.manifest import MANIFEST_VERSION
from llmos.artifact.packed import Checksum, PackedBytes, check_packed, checksums, map_packed, n_sums, read_packed

__all__ = [
    "MANIFEST_VERSION",
    "Bundle",
    "Checksum",
    "ImageWriter",
    "PackedBytes",
    "check_packed",
    "checksums",
    "image_bytes",
    "image_facts",
    "map_packed",
    "n_sums",
    "open_bundle",
    "open_image",
    "part_files",
    "read_packed",
    "remove_part",
    "write_bundle",
    "writing",
]
