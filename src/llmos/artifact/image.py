"""An image: the packed weights of one model in a file of the cache, as they lie in memory, and what tells whether they still are.

    0       "LLMOSIMG", version, sizes of the two parts that follow, SHA-256 of both: 64 bytes
    64      facts as JSON, key among them
    ...     a checksum (uint64) of each 512 KiB of the weights
    n*4096  the weights

An image is written in place under another name, `.KEY.part`, by whoever holds the lock on it. Beside it a journal names the
stretches that are done with their checksums, so that a process that is killed leaves work that the next one goes on with; each
stretch is compared with its checksum then, since after a power cut the journal may know more than the disk. Only what is whole
and flushed gets its name. Names of unfinished files are given and removed only under the lock of the file that they lead to.
"""

import contextlib
import hashlib
import json
import os
import re
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np

from llmos.artifact.packed import Checksum, PackedBytes, checksums, n_sums
from llmos.core.errors import FormatError, ResourceError
from llmos.core.files import cannot_write, open_regular
from llmos.core.locks import locked, locked_at_once

__all__ = ["ImageWriter", "image_bytes", "image_facts", "open_image", "part_files", "remove_part", "writing"]

VERSION = 1
_MAGIC = b"LLMOSIMG"
_HEAD = struct.Struct("<8sIII12x32s")  # magic, version, bytes of the facts, bytes of the checksums, SHA-256 of both
_ALIGN = 4096
_MOST_FACTS, _MOST_SUMS = 1 << 16, 1 << 26  # the latter of 4 TiB of weights
_LINE = re.compile(r"(\d{1,15}) (\d{1,12}) ([0-9a-f]{16})")


def image_bytes(n_bytes: int) -> int:
    """Size of an image of n_bytes of weights, about: facts are short."""
    return _start(4096, n_bytes) + n_bytes


def open_image(path: Path, key: str, n_bytes: int) -> PackedBytes:
    """The weights of an image. Raises FormatError where it is none of this key and size, and FileNotFoundError without one."""
    with open_regular(path) as file:
        facts, sums, offset = _read_head(file, path)
        size = os.fstat(file.fileno()).st_size
    if facts.get("key") != key:
        raise FormatError(path, "is of other weights")
    if len(sums) != n_sums(n_bytes) or size != offset + n_bytes:
        raise FormatError(path, "is cut off, or longer than it was written")
    return PackedBytes(path=path, offset=offset, n_bytes=n_bytes, sums=sums)


def image_facts(path: Path) -> dict[str, Any]:
    """What was kept of an image. Raises FormatError and OSError."""
    with open_regular(path) as file:
        return _read_head(file, path)[0]


def _read_head(file: BinaryIO, path: Path) -> tuple[dict[str, Any], np.ndarray, int]:
    """Facts, checksums, and where the weights begin."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise FormatError(path, "is cut off")
    magic, version, facts_bytes, sums_bytes, digest = _HEAD.unpack(head)
    if magic != _MAGIC or version != VERSION:
        raise FormatError(path, "is no image of this version")
    if facts_bytes > _MOST_FACTS or sums_bytes > _MOST_SUMS or sums_bytes % 8:
        raise FormatError(path, "has a damaged header")
    described = file.read(facts_bytes + sums_bytes)
    if hashlib.sha256(described).digest() != digest:
        raise FormatError(path, "has a damaged header")
    sums = np.frombuffer(described, "<u8", offset=facts_bytes).astype(np.uint64)
    facts = json.loads(described[:facts_bytes])
    if not isinstance(facts, dict):
        raise FormatError(path, "has a damaged header")
    return facts, sums, _rounded(_HEAD.size + facts_bytes + sums_bytes)


@contextlib.contextmanager
def writing(path: Path, facts: Mapping[str, Any], n_bytes: int, checksum: Checksum) -> Iterator["ImageWriter | None"]:
    """A writer that puts an image at `path` when the block ends without an exception; None where someone else has meanwhile.

    Waits while another process writes the same image. facts: what is kept of it, with its `key`. What an exception leaves is
    gone on with by the next one, but for that of a full disk, which is removed. Raises ResourceError where the disk is full, the
    folder cannot be written or the unfinished file is removed meanwhile.
    """
    part, journal = part_files(path)
    described = json.dumps(dict(facts), sort_keys=True).encode()
    assert len(described) <= _MOST_FACTS, "facts are few"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _held(part) as file:
            if path.exists():
                _remove_own(file, part, journal)
                yield None
                return
            with _removed_where_it_fails(file, part, journal):
                writer = ImageWriter(file, part, journal, described, n_bytes, checksum)
                with contextlib.closing(writer):
                    yield writer
                    writer.publish(path)
    except OSError as error:
        raise ResourceError(str(cannot_write(error, path))) from error


def part_files(path: Path) -> tuple[Path, Path]:
    """The file that becomes an image, and its journal."""
    key = path.stem.lstrip(".")
    return path.with_name(f".{key}.part"), path.with_name(f".{key}.journal")


class ImageWriter:
    """Writes stretches of an image in any order, from several threads."""

    def __init__(self, file: BinaryIO, part: Path, journal: Path, facts: bytes, n_bytes: int, checksum: Checksum):
        self._file, self._part, self._facts, self._n_bytes = file, part, facts, n_bytes
        self._offset, self._checksum, self._lock = _start(len(facts), n_bytes), checksum, threading.Lock()
        same = os.fstat(file.fileno()).st_size == self._offset + n_bytes
        self._journal_path = journal
        self._left = _journalled(journal) if same else {}
        self._journal = journal.open("a" if same else "w", encoding="ascii")
        if not same:
            file.truncate(0)
            file.truncate(self._offset + n_bytes)

    def has(self, at: int, n_bytes: int) -> bool:
        """Whether an earlier writer left this stretch, and whole."""
        if at not in self._left or self._left[at][0] != n_bytes:
            return False
        with self._lock:
            self._file.seek(self._offset + at)
            data = memoryview(bytearray(n_bytes))
            whole = cast(Any, self._file).readinto(data) == n_bytes
        return whole and self._checksum(data) == self._left[at][1]

    def write(self, at: int, data: memoryview) -> None:
        """Put bytes to their place and say in the journal that they are there."""
        line = f"{at} {len(data)} {self._checksum(data):016x}\n"
        with self._lock:
            self._file.seek(self._offset + at)
            done = 0
            while done < len(data):
                done += self._file.write(data[done:])
            self._journal.write(line)
            self._journal.flush()

    def publish(self, path: Path) -> None:
        """Write the head, flush, and give the image its name. Raises ResourceError where the file lost its own."""
        self._check_named()
        packed = PackedBytes(path=self._part, offset=self._offset, n_bytes=self._n_bytes, sums=np.zeros(0, np.uint64))
        sums = checksums(packed, self._checksum, threads=2).astype("<u8").tobytes()
        digest = hashlib.sha256(self._facts + sums).digest()
        head = _HEAD.pack(_MAGIC, VERSION, len(self._facts), len(sums), digest)
        self._file.seek(0)
        self._file.write(head + self._facts + sums)
        os.fsync(self._file.fileno())
        self._check_named()
        if os.name == "nt":  # which renames no open file; nobody waits for a lock there
            self._file.close()
        os.replace(self._part, path)
        self._journal.close()
        self._journal_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Forget all that was written."""
        _remove_own(self._file, self._part, self._journal_path)

    def close(self) -> None:
        self._journal.close()

    def _check_named(self) -> None:
        """A user may have removed it, and another may write one of that name."""
        if not _leads_to(self._part, self._file):
            raise ResourceError(f"{self._part} was removed while it was written")


def _start(facts_bytes: int, n_bytes: int) -> int:
    """Where the weights begin."""
    return _rounded(_HEAD.size + facts_bytes + 8 * n_sums(n_bytes))


def _rounded(n: int) -> int:
    return -(-n // _ALIGN) * _ALIGN


def _journalled(journal: Path) -> dict[int, tuple[int, int]]:
    """Stretches that were done: where, bytes, checksum. A line that was cut off says nothing."""
    try:
        lines = journal.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    found = filter(None, map(_LINE.fullmatch, lines))
    return {int(match[1]): (int(match[2]), int(match[3], 16)) for match in found}


@contextlib.contextmanager
def _held(part: Path) -> Iterator[BinaryIO]:
    """The unfinished file, open and locked. Whoever waited may hold one that has its name or is gone: then a new one is made."""
    while True:
        with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as file, locked(file):
            if _leads_to(part, file):
                yield cast(BinaryIO, file)
                return


@contextlib.contextmanager
def _removed_where_it_fails(file: BinaryIO, part: Path, journal: Path) -> Iterator[None]:
    """What a full disk leaves goes, under the lock: whoever waits for it makes a new one."""
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            _remove_own(file, part, journal)
        raise


def remove_part(part: Path) -> bool:
    """Remove an unfinished file; False where somebody writes it, who would lose what was done, or it is gone."""
    with contextlib.suppress(FileNotFoundError), part.open("r+b") as file, locked_at_once(file) as alone:
        if alone and _leads_to(part, file):
            _unlink(part, file)
            return True
    return False


def _remove_own(file: BinaryIO, part: Path, journal: Path) -> None:
    """The names of an unfinished file, by whoever holds it."""
    if not file.closed and _leads_to(part, file):
        journal.unlink(missing_ok=True)
        _unlink(part, file)


def _unlink(path: Path, file: IO[bytes]) -> None:
    """Remove the name of an open file."""
    if os.name == "nt":  # which removes none
        file.close()
    path.unlink(missing_ok=True)


def _leads_to(path: Path, file: IO[bytes]) -> bool:
    """Whether a name is that of an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
