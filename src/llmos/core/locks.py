"""Locks between processes: on an open file, let go by the system when its holder ends, however that is."""

import contextlib
from collections.abc import Iterator
from typing import IO

__all__ = ["locked", "locked_at_once"]

try:
    import fcntl
except ImportError:  # Windows

    @contextlib.contextmanager
    def locked(file: IO[bytes]) -> Iterator[None]:
        """No lock: there, two writers of one file disturb each other and what they write is refused by its checksums."""
        yield

    @contextlib.contextmanager
    def locked_at_once(file: IO[bytes]) -> Iterator[bool]:
        """No lock: what another process writes cannot be removed there."""
        yield True

else:

    @contextlib.contextmanager
    def locked(file: IO[bytes]) -> Iterator[None]:
        """Alone with a file, after waiting for others that hold it."""
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if not file.closed:
                fcntl.flock(file, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def locked_at_once(file: IO[bytes]) -> Iterator[bool]:
        """Alone with a file, or False where another holds it: nobody is waited for."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
