"""The bundle format: what a compiled model is, without knowing how to make or run one."""

from llmos.artifact.bundle import Bundle, open_bundle, write_bundle
from llmos.artifact.manifest import MANIFEST_VERSION

__all__ = ["MANIFEST_VERSION", "Bundle", "open_bundle", "write_bundle"]
