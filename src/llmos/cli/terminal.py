"""What the verbs write: results on stdout, everything else on stderr and only where a person is looking."""

import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["Progress", "counted", "table", "write_json"]


class Progress:
    """One line on stderr that is overwritten as work goes on and wiped at the end; nothing where stderr is no terminal.

    Called with a message, or with a message and a share of the work done (0 to 1).
    """

    def __init__(self) -> None:
        self.visible = sys.stderr.isatty()
        self.shown = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.clear()

    def __call__(self, message: str, share: float | None = None) -> None:
        if self.visible:
            text = message if share is None else f"{message} {share:4.0%}"
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{text[:width]}")
            sys.stderr.flush()
            self.shown = True

    def clear(self) -> None:
        """Wipe the line, so that what comes next starts at the margin."""
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self.shown = False


def write_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def table(rows: Sequence[tuple[str, ...]], headings: tuple[str, ...]) -> None:
    """Left-aligned columns on stdout; the last one is not padded."""
    lines = [headings, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings) - 1)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        click.echo("  ".join([*cells, line[-1]]).rstrip())


def counted(n: int, noun: str) -> str:
    """1 thread, 2 threads."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
