"""Files that are whole or absent: written beside their destination, flushed, then renamed. Files of strangers, read with care."""

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from llmos.core.env import environment
from llmos.core.errors import FormatError, ResourceError, UserError

__all__ = [
    "atomic_directory",
    "atomic_path",
    "atomic_write",
    "cannot_write",
    "make_directory",
    "open_regular",
    "read_file",
    "read_object",
    "sha256_file",
]

_MOST_BYTES = 256 << 20  # the largest tokenizers and indexes have some 40 MB


def make_directory(path: Path) -> Path:
    """The directory, created with its parents. Raises UserError where it may not be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(error, path) from error
    return path


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """A file open for reading. Raises OSError, also for pipes and devices: a stranger's folder may link to what never ends."""
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # opening a folder says best what is wrong with it
        raise OSError(errno.EINVAL, "it is a pipe or a device, no file", str(path))
    return path.open("rb", buffering)


def read_file(path: Path, most_bytes: int = _MOST_BYTES) -> bytes:
    """The bytes of a small file. Raises FormatError where it is larger than `most_bytes`, and OSError as `open_regular`."""
    with open_regular(path) as file:
        large = os.fstat(file.fileno()).st_size > most_bytes
        data = b"" if large else file.read(most_bytes + 1)
    if large or len(data) > most_bytes:
        raise FormatError(path, f"is larger than {most_bytes} bytes, which no file of its kind is")
    return data


def read_object(path: Path, missing: str) -> dict[str, Any]:
    """The object of a small JSON file. Raises UserError where it cannot be read, with `missing` where there is none, else FormatError."""
    try:
        raw = json.loads(read_file(path).decode())
    except FileNotFoundError:
        raise UserError(missing) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise FormatError(path, "is not a JSON object")
    return raw


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A binary file open for writing that appears at `path` only when the block ends without an exception.

    Raises UserError where the folder cannot be written and ResourceError where the disk is full.
    """
    path = Path(path)
    make_directory(path.parent)
    temporary = None
    try:
        try:
            fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        except OSError as error:  # it names a file that nobody has asked for
            raise cannot_write(error, path) from error
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        if error.filename not in (None, temporary, str(path), str(path.parent)):
            raise
        raise cannot_write(error, path) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Where to write a file of this name, which takes the place of `path` when the block ends without an exception.

    For what is looked at by its name before anybody else sees it. Raises as `atomic_write` does.
    """
    path = Path(path)
    folder = _folder_beside(path)
    try:
        yield folder / path.name
        try:
            os.replace(folder / path.name, path)
        except OSError as error:
            raise cannot_write(error, path) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def atomic_directory(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary directory that takes the place of `path` when the block ends without an exception."""
    path = Path(path)
    temporary = _folder_beside(path)
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        if path.exists():
            old = temporary.with_suffix(".old")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
    except OSError as error:
        raise cannot_write(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _folder_beside(path: Path) -> Path:
    """A temporary directory on the disk of a path, whose parents are made."""
    make_directory(path.parent)
    try:
        return Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    except OSError as error:
        raise cannot_write(error, path) from error


def sha256_file(path: str | os.PathLike) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cannot_write(error: OSError, path: Path) -> Exception:
    """What a failure to write a file means to a user: ResourceError for a full disk, else UserError."""
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return ResourceError(f"no space left to write {path}: free some disk, or choose another folder{_hint(path)}")
    return UserError(f"cannot write {path}: {error.strerror or error}; choose a folder that you may write{_hint(path)}")


def _hint(path: Path) -> str:
    """Where the folder is chosen, when it is that of the cache."""
    return " (LLMOS_CACHE)" if environment().cache in (path, *path.parents) else ""
