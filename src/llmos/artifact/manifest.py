"""The manifest of a bundle: version, identity, number formats, and the hash of every other entry."""

import hashlib
import re
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError

__all__ = ["MANIFEST_VERSION", "check_manifest", "payload_hash"]

MANIFEST_VERSION = 1
_CHUNK_BYTES = range(1 << 20, (1 << 30) + 1)  # each is an object while it is hashed: there must not be too many
_DIGEST = re.compile(r"[0-9a-f]{64}")


def payload_hash(hashes: Mapping[str, str]) -> str:
    """The identity of a compiled model: what it computes, for how many positions, and how text becomes ids and back.

    The graph does not tell the number of positions; the spec does.
    """
    parts = [hashes[name] for name in ("spec.json", "graph.json", "weights.bin", "prompt_format.json")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def check_manifest(path: Path, raw: object, entries: tuple[str, ...]) -> dict[str, Any]:
    """The manifest, when it is one: every field of its type, a hash for each of `entries`. Raises FormatError naming the field."""
    if not isinstance(raw, dict):
        raise FormatError(path, "manifest.json is not a JSON object")
    version = raw.get("version")
    if type(version) is not int or not 1 <= version <= MANIFEST_VERSION:
        raise FormatError(
            path, f"has manifest version {version!r}; this LLMOS reads 1 to {MANIFEST_VERSION}: install a newer one"
        )
    for name, (fits, wanted) in _FIELDS.items():
        if not fits(raw.get(name)):
            raise FormatError(path, f"manifest.json: field {name} must be {wanted}, not {reprlib.repr(raw.get(name))}")
    missing = [name for name in entries if name not in raw["sha256"]]
    if missing:
        raise FormatError(path, f"manifest.json has no SHA-256 of {', '.join(missing)}")
    if payload_hash(raw["sha256"]) != raw["payload"]:
        raise FormatError(
            path, "manifest.json: the payload hash is not that of the entries: it has been changed or damaged"
        )
    return raw


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _are_formats(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    matrices = value.get("matrices", {})
    single = {name: format for name, format in value.items() if name != "matrices"}
    return (
        single.keys() - {"tables"} == {"weights", "kv"}
        and isinstance(matrices, dict)
        and all(isinstance(format, str) for format in (*single.values(), *matrices.values()))
    )


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "payload": (_is_digest, "64 hexadecimal digits"),
    "graph": (_is_digest, "64 hexadecimal digits"),
    "layout": (lambda value: value is None or _is_digest(value), "64 hexadecimal digits"),
    "formats": (_are_formats, "an object of the texts weights and kv, and perhaps tables and an object matrices"),
    "sha256": (lambda value: isinstance(value, dict) and all(map(_is_digest, value.values())), "an object of hashes"),
    "weights_bytes": (lambda value: type(value) is int and value >= 0, "a number of bytes"),
    "chunk_bytes": (
        lambda value: type(value) is int and value in _CHUNK_BYTES,
        "a number of bytes from 1 MiB to 1 GiB",
    ),
    "generation": (lambda value: value is None or isinstance(value, dict), "an object"),
    "embedding": (lambda value: value is None or isinstance(value, dict), "an object"),
}
