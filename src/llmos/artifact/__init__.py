"""The bundle format: what a compiled model is, without knowing how to make or run one."""

from llmos.artifact.bundle import MANIFEST_VERSION, Bundle, open_bundle, write_bundle

__all__ = ["MANIFEST_VERSION", "Bundle", "open_bundle", "write_bundle"]
