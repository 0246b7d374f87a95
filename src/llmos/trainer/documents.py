"""Reads documents: JSON lines with a text field, or a plain text file as one document; xz, bz2 and gzip are understood."""

import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from llmos.core.errors import FormatError, UserError
from llmos.trainer.recipe import Source

__all__ = ["documents", "limited"]

_OPENERS: dict[str, Callable[..., IO[str]]] = {".xz": lzma.open, ".bz2": bz2.open, ".gz": gzip.open}


def documents(source: Source) -> Iterator[str]:
    """The texts of a source in order. Raises UserError for a missing file, FormatError (with the line) for a damaged one."""
    path = source.path
    name = path.name.removesuffix(path.suffix) if path.suffix in _OPENERS else path.name
    read = {".jsonl": _json_lines, ".txt": _whole}.get(Path(name).suffix)
    if read is None:
        raise UserError(f"source {source.name}: {path} is neither .jsonl nor .txt (plain, .xz, .bz2 or .gz)")
    try:
        opener: Callable[..., IO[str]] = _OPENERS.get(path.suffix, open)
        with opener(path, "rt", encoding="utf-8") as file:
            yield from read(file, source)
    except FileNotFoundError as error:
        raise UserError(
            f"source {source.name}: there is no file {path}; correct data.sources or fetch the data first"
        ) from error
    except (lzma.LZMAError, zlib.error, EOFError, UnicodeDecodeError, OSError) as error:
        raise FormatError(path, f"cannot be read as text: {error}") from error


def limited(texts: Iterator[str], max_bytes: int) -> Iterator[str]:
    """Texts up to `max_bytes` of UTF-8 in all; the last one is cut at a character."""
    left = max_bytes
    for text in texts:
        raw = text.encode()
        if len(raw) >= left:
            yield raw[:left].decode(errors="ignore")
            return
        left -= len(raw)
        yield text


def _whole(file, source: Source) -> Iterator[str]:
    yield file.read()


def _json_lines(file, source: Source) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            text = json.loads(line)[source.text_field]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise FormatError(
                source.path, f"line {number} is no JSON object with a {source.text_field!r} field"
            ) from error
        if not isinstance(text, str):
            raise FormatError(source.path, f"line {number}: {source.text_field!r} is not text")
        yield text
