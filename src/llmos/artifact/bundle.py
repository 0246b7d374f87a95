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

Every entry but the manifest is held to a hash in it: the weights to that of their chunks (`artifact.chunks`) while they are
loaded, the others to their SHA-256 when the bundle is opened. The payload hash covers spec, graph, weights and prompt format;
sampling defaults, reports and lineage lie outside it.
"""

import contextlib
import hashlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from llmos.artifact.chunks import CHUNK_BYTES, hash_chunks
from llmos.artifact.manifest import MANIFEST_VERSION, check_manifest, payload_hash
from llmos.artifact.packed import PackedBytes, reading_parts
from llmos.core.errors import FormatError, UserError
from llmos.core.files import atomic_write, open_regular

__all__ = ["Bundle", "check_bundle_name", "open_bundle", "write_bundle"]

# The JSON entries, and what each holds at its top.
_KINDS: dict[str, tuple[type, ...]] = {
    "spec": (dict,),
    "graph": (dict,),
    "prompt_format": (dict, type(None)),
    "golden": (list,),
    "lineage": (dict,),
    "reports": (dict,),
}
_HASHED = (*(f"{name}.json" for name in _KINDS), "weights.bin")
_ALIGN = 4096
_MOST_ENTRIES = 64
_MOST_DOCUMENT_BYTES = 256 << 20  # the largest tokenizers take some 40 MB
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")

# Whatever `zipfile` raises for files that are none, are cut off or lie about offsets and sizes.
_BROKEN = (
    OSError,
    zipfile.BadZipFile,
    KeyError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


def check_bundle_name(path: Path) -> None:
    """Raise UserError for a name under which no bundle would be found again: the suffix says what a file is."""
    if path.suffix != ".llm":
        raise UserError(f"the output is {str(path)!r}; its name must end in .llm")


def write_bundle(
    path: Path,
    *,
    documents: Mapping[str, Any],
    facts: Mapping[str, Any],
    weights: memoryview | PackedBytes,
    licence: str | None = None,
    threads: int = 1,
) -> str:
    """Write a bundle that appears whole or not at all; threads: how many hash the weights. Returns its payload hash.

    documents: the JSON entries by name (see the module); facts: further fields of the manifest; weights: in memory, or in a file that
    is read a chunk at a time.
    """
    assert set(documents) == set(_KINDS), f"a bundle has the entries {list(_KINDS)}"
    entries = {f"{name}.json": _canonical(documents[name]) for name in _KINDS}
    if licence is not None:
        entries["LICENSE"] = licence.encode()
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in entries.items()}
    with _chunks(weights) as (n_bytes, chunk):
        hashes["weights.bin"] = hash_chunks(chunk, n_bytes, CHUNK_BYTES, threads)
        payload = payload_hash(hashes)
        manifest = {
            **facts,
            "version": MANIFEST_VERSION,
            "payload": payload,
            "sha256": hashes,
            "weights_bytes": n_bytes,
            "chunk_bytes": CHUNK_BYTES,
        }
        with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_info("manifest.json"), _canonical(manifest))
            for name, data in entries.items():
                archive.writestr(_info(name), data)
            info = _info("weights.bin")
            large = n_bytes > zipfile.ZIP64_LIMIT
            header = 30 + len(info.filename) + (20 if large else 0)  # a large entry gets its sizes in 20 more bytes
            padding = -(file.tell() + header + 4) % _ALIGN
            info.extra = b"\xda\x11" + padding.to_bytes(2, "little") + b"\0" * padding
            with archive.open(info, "w", force_zip64=large) as entry:
                for start in range(0, n_bytes, CHUNK_BYTES):
                    entry.write(chunk(start, min(start + CHUNK_BYTES, n_bytes)))
        return payload


@contextlib.contextmanager
def _chunks(weights: memoryview | PackedBytes) -> Iterator[tuple[int, Callable[[int, int], memoryview]]]:
    """How many bytes there are, and bytes start .. stop of them."""
    if isinstance(weights, PackedBytes):
        with reading_parts(weights) as part:
            yield weights.n_bytes, part
    else:
        yield len(weights), lambda start, stop: weights[start:stop]


class Bundle:
    """An opened bundle. Raises FormatError for anything that is not one, is cut off or has been changed.

    Nothing is believed before it is checked, and no memory taken for what the file does not hold: entries are stored, unique,
    and lie inside the file.
    """

    def __init__(self, path: Path):
        self.path = path
        with _open(path) as file:
            self._entries = _directory(file, path)
        manifest = self._parse("manifest.json", self._read("manifest.json"))
        self.manifest = check_manifest(path, manifest, _HASHED)
        size = self._entries["weights.bin"].file_size
        if size != self.manifest["weights_bytes"]:
            wanted = self.manifest["weights_bytes"]
            raise FormatError(path, f"weights.bin has {size} bytes, not the {wanted} that the manifest says")
        self._check_entries()

    def document(self, name: str) -> Any:
        """A JSON entry, its hash checked against the manifest and its kind (object, list) against the format."""
        entry = f"{name}.json"
        parsed = self._parse(entry, self._read_hashed(entry))
        if not isinstance(parsed, _KINDS[name]):
            raise FormatError(self.path, f"{entry} holds {type(parsed).__name__}, not {_KINDS[name][0].__name__}")
        return parsed

    @property
    def weights_bytes(self) -> int:
        return self.manifest["weights_bytes"]

    def read_weights_into(
        self, out: memoryview, progress: Callable[[int, int], None] | None = None, *, threads: int = 1
    ) -> None:
        """Copy the packed weights into `out` (weights_bytes long), comparing their hash. threads: how many read and hash."""
        with _open(self.path) as file:
            fd = file.fileno()
            begin = self._begin(fd, "weights.bin")

            def chunk(start: int, stop: int) -> memoryview:
                self._fill(fd, out[start:stop], begin + start)
                return out[start:stop]

            digest = hash_chunks(chunk, self.weights_bytes, self.manifest["chunk_bytes"], threads, progress)
        self._compare(digest, "weights.bin")

    def check_weights(self, progress: Callable[[int, int], None] | None = None, *, threads: int = 1) -> None:
        """Hold the packed weights to their hash without keeping them."""
        with _open(self.path) as file:
            fd = file.fileno()
            begin = self._begin(fd, "weights.bin")

            def chunk(start: int, stop: int) -> memoryview:
                scratch = memoryview(bytearray(stop - start))
                self._fill(fd, scratch, begin + start)
                return scratch

            digest = hash_chunks(chunk, self.weights_bytes, self.manifest["chunk_bytes"], threads, progress)
        self._compare(digest, "weights.bin")

    def packed(self, sums: np.ndarray | None = None) -> PackedBytes:
        """Where the packed weights lie. sums: their checksums where those are known."""
        with _open(self.path) as file:
            begin = self._begin(file.fileno(), "weights.bin")
        known = np.zeros(0, np.uint64) if sums is None else sums
        return PackedBytes(path=self.path, offset=begin, n_bytes=self.weights_bytes, sums=known)

    def _check_entries(self) -> None:
        """Hold every entry but the weights to its hash, the manifest to the entries that there are."""
        named = self.manifest["sha256"].keys()
        for name in sorted(named ^ self._entries.keys() - {"manifest.json"}):
            raise FormatError(
                self.path, f"has no entry {name}" if name in named else f"{name} is not in its manifest: added since"
            )
        for name in named - {"weights.bin"}:
            self._read_hashed(name)

    def _read_hashed(self, name: str) -> bytes:
        data = self._read(name)
        self._compare(hashlib.sha256(data).hexdigest(), name)
        return data

    def _compare(self, digest: str, name: str) -> None:
        if digest != self.manifest["sha256"][name]:
            raise FormatError(self.path, f"{name} is not what the manifest says: the file has been changed or damaged")

    def _read(self, name: str) -> bytes:
        """An entry's bytes, their CRC compared: the manifest has no other check."""
        info = self._entries[name]
        if info.file_size > _MOST_DOCUMENT_BYTES:
            raise FormatError(self.path, f"{name} has {info.file_size} bytes, {_MOST_DOCUMENT_BYTES} at most are read")
        data = bytearray(info.file_size)
        with _open(self.path) as file:
            self._fill(file.fileno(), memoryview(data), self._begin(file.fileno(), name))
        if zlib.crc32(data) != info.CRC:
            raise FormatError(self.path, f"{name} is damaged: its checksum is another")
        return bytes(data)

    def _begin(self, fd: int, name: str) -> int:
        """Where an entry's bytes begin: behind its own header, whose length the directory does not tell."""
        at = self._entries[name].header_offset
        header = bytearray(_LOCAL_HEADER.size)
        self._fill(fd, memoryview(header), at)
        magic, *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        if magic != b"PK\3\4":
            raise FormatError(self.path, f"{name} is not where the directory says: damaged", offset=at)
        return at + _LOCAL_HEADER.size + name_bytes + extra_bytes

    def _fill(self, fd: int, out: memoryview, offset: int) -> None:
        """Fill `out` from a place in the file, which many threads may do at once: none moves a common position."""
        done = 0
        while done < len(out):
            try:
                n = os.preadv(fd, [out[done:]], offset + done)
            except OSError as error:
                raise UserError(f"cannot read {self.path}: {error.strerror}") from error
            if not n:
                raise FormatError(self.path, "ends in the middle of an entry: cut off or damaged")
            done += n

    def _parse(self, name: str, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise FormatError(self.path, f"{name} is not JSON: {error}") from error


def open_bundle(path: Path) -> Bundle:
    """The bundle at a path."""
    return Bundle(path)


def _open(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _directory(file: BinaryIO, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The entries by name, checked before any is read."""
    try:
        infos = zipfile.ZipFile(file).infolist()
    except _BROKEN as error:
        raise FormatError(path, f"is no LLMOS bundle, or is cut off: {error}") from error
    if len(infos) > _MOST_ENTRIES:
        raise FormatError(path, f"is no LLMOS bundle: it has {len(infos)} entries")
    end = file.seek(0, 2)
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name, start = info.filename, info.header_offset
        if name in entries:
            raise FormatError(path, f"has two entries {name}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
            raise FormatError(path, f"{name} is compressed or encrypted; the entries of a bundle are stored")
        if start < 0 or start + _LOCAL_HEADER.size + info.file_size > end:
            raise FormatError(path, f"{name} ends beyond the file: cut off or damaged")
        entries[name] = info
    missing = [name for name in ("manifest.json", *_HASHED) if name not in entries]
    if missing:
        raise FormatError(path, f"is no LLMOS bundle: it has no entry {', '.join(missing)}")
    return entries


def _info(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # fixed: equal models give equal files


def _canonical(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
