"""The bundle `NAME.llm`: a compiled model without machine code.

A ZIP file whose entries are stored, the weights at a multiple of 4096 bytes, so that `unzip -l` shows it and it can be mapped.
Entries of version 1:

manifest.json       version, payload hash, formats, sizes; the table of the other entries with their SHA-256
spec.json           family and config from which the graph comes
graph.json          the planned graph
prompt_format.json  tokenizer, chat template, special and stop tokens
golden.json         token ids of a fixed text set
weights.bin         packed weights, laid out as the graph says
lineage.json        what it was made from: names and hashes, recipe
reports.json        results of comparing it with its source; empty until someone has
LICENSE             of the weights, where known

The payload hash covers graph, weights and prompt format; reports and lineage lie outside it.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError, UserError
from llmos.core.files import atomic_write

__all__ = ["MANIFEST_VERSION", "Bundle", "open_bundle", "write_bundle"]

MANIFEST_VERSION = 1
_ALIGN = 4096
_TEXTS = ("spec", "graph", "prompt_format", "golden", "lineage", "reports")
_CHUNK = 8 << 20


def write_bundle(
    path: Path,
    *,
    documents: Mapping[str, Any],
    facts: Mapping[str, Any],
    weights: memoryview,
    licence: str | None = None,
) -> str:
    """Write a bundle that appears whole or not at all. documents: the JSON entries by name (see the module). Returns its payload hash."""
    assert set(documents) == set(_TEXTS), f"a bundle has the entries {_TEXTS}"
    entries = {f"{name}.json": _canonical(documents[name]) for name in _TEXTS}
    if licence is not None:
        entries["LICENSE"] = licence.encode()
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in entries.items()}
    hashes["weights.bin"] = hashlib.sha256(weights).hexdigest()
    payload = payload_hash(hashes)
    manifest = {
        **facts,
        "version": MANIFEST_VERSION,
        "payload": payload,
        "sha256": hashes,
        "weights_bytes": len(weights),
    }
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_info("manifest.json"), _canonical(manifest))
        for name, data in entries.items():
            archive.writestr(_info(name), data)
        info = _info("weights.bin")
        large = len(weights) > zipfile.ZIP64_LIMIT
        header = 30 + len(info.filename) + (20 if large else 0)  # a large entry gets its sizes in 20 more bytes
        padding = -(file.tell() + header + 4) % _ALIGN
        info.extra = b"\xda\x11" + padding.to_bytes(2, "little") + b"\0" * padding
        with archive.open(info, "w", force_zip64=large) as entry:
            for start in range(0, len(weights), _CHUNK):
                entry.write(weights[start : start + _CHUNK])
    return payload


def payload_hash(hashes: Mapping[str, str]) -> str:
    """The identity of a compiled model."""
    parts = [hashes[name] for name in ("graph.json", "weights.bin", "prompt_format.json")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Bundle:
    """An opened bundle. Raises FormatError for anything that is not one, is cut off or has been changed."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
            self.manifest = self._json("manifest.json")
        except FileNotFoundError as error:
            raise UserError(f"there is no file {path}") from error
        except (OSError, zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
            raise FormatError(path, f"is no LLMOS bundle, or is cut off: {error}") from error
        version = self.manifest.get("version")
        if not isinstance(version, int) or not 1 <= version <= MANIFEST_VERSION:
            raise FormatError(
                path, f"has manifest version {version!r}; this LLMOS reads 1 to {MANIFEST_VERSION}: install a newer one"
            )

    def document(self, name: str) -> Any:
        """A JSON entry, its hash checked against the manifest."""
        try:
            data = self._archive.read(f"{name}.json")
            expected = self.manifest["sha256"][f"{name}.json"]
        except (KeyError, TypeError, OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise FormatError(self.path, f"entry {name}.json is missing or damaged: {error}") from error
        if hashlib.sha256(data).hexdigest() != expected:
            raise FormatError(
                self.path, f"entry {name}.json is not what the manifest says: the file has been changed or damaged"
            )
        return self._parse(data, f"{name}.json")

    @property
    def weights_bytes(self) -> int:
        size = self.manifest.get("weights_bytes")
        if not isinstance(size, int) or size != self._archive.getinfo("weights.bin").file_size:
            raise FormatError(self.path, f"weights.bin does not have the {size!r} bytes that the manifest says")
        return size

    def read_weights_into(self, out: memoryview, progress: Callable[[int, int], None] | None = None) -> None:
        """Copy the packed weights into `out` (weights_bytes long), checking their checksum on the way."""
        done, total = 0, self.weights_bytes
        try:
            with self._archive.open("weights.bin") as entry:
                while done < total:
                    n = entry.readinto(out[done : done + _CHUNK])
                    if not n:
                        raise EOFError("it ends early")
                    done += n
                    if progress:
                        progress(done, total)
                entry.read(1)  # the end: the checksum is compared here
        except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise FormatError(self.path, f"weights.bin is damaged: {error}") from error

    def verify(self) -> None:
        """Compare the SHA-256 of the weights and the payload hash with the manifest."""
        digest = hashlib.sha256()
        with self._archive.open("weights.bin") as entry:
            while chunk := entry.read(_CHUNK):
                digest.update(chunk)
        if (
            digest.hexdigest() != self.manifest["sha256"]["weights.bin"]
            or payload_hash(self.manifest["sha256"]) != self.manifest["payload"]
        ):
            raise FormatError(self.path, "weights or payload hash are not what the manifest says")

    def close(self) -> None:
        self._archive.close()

    def _json(self, name: str) -> Any:
        return self._parse(self._archive.read(name), name)

    def _parse(self, data: bytes, name: str) -> Any:
        try:
            parsed = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise FormatError(self.path, f"entry {name} is not JSON: {error}") from error
        if name == "manifest.json" and not isinstance(parsed, dict):
            raise FormatError(self.path, "manifest.json is not a JSON object")
        return parsed


def open_bundle(path: Path) -> Bundle:
    """The bundle at a path."""
    return Bundle(path)


def _info(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # fixed: equal models give equal files


def _canonical(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
