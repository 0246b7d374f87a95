"""Small text files of /proc and /sys, which may be absent, unreadable or empty on any given machine."""

from pathlib import Path

__all__ = ["read_int", "read_text"]


def read_text(path: Path) -> str | None:
    """The file's text without surrounding white space, or None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """The whole number in the file, or None where there is none (`max` in a cgroup means no limit)."""
    text = read_text(path)
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None
