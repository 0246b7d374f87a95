"""What the verbs write: results on stdout, everything else on stderr and only where a person is looking."""

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["Progress", "counted", "table", "tell", "write_json"]


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


def tell(message: str) -> None:
    """A message on stderr: one line, or at a terminal as many as its width asks for, broken between words."""
    text = f"llmos: {message}"
    if sys.stderr.isatty():
        text = "\n".join("\n".join(_broken(line, shutil.get_terminal_size().columns)) for line in text.split("\n"))
    click.echo(text, err=True)


def write_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def table(rows: Sequence[tuple[str, ...]], headings: tuple[str, ...]) -> None:
    """Left-aligned columns on stdout; the last one is not padded, and at a terminal goes on below itself."""
    lines = [headings, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings) - 1)]
    margin = sum(widths) + 2 * len(widths)
    room = shutil.get_terminal_size().columns - margin
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        last = _broken(line[-1], room) if sys.stdout.isatty() and room > 20 else [line[-1]]
        click.echo("  ".join([*cells, last[0]]).rstrip())
        for more in last[1:]:
            click.echo(" " * margin + more)


def _broken(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters, but never within a word: it may be a path or a name to copy."""
    return textwrap.wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False) or [""]


def counted(n: int, noun: str) -> str:
    """1 thread, 2 threads."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
