"""A tokenizer.json: its text, what it parses to, and the ids of its tokens."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError
from llmos.text.model_files import read_text

__all__ = ["Document", "malformed", "parse_document", "read_document"]


@dataclass(frozen=True, kw_only=True)
class Document:
    """text: of a tokenizer.json. ids: of its tokens, the whole vocabulary. rules: SentencePiece's, see `sentencepiece.Rules`."""

    text: str
    parsed: dict[str, Any]
    ids: dict[str, Any]
    rules: dict[str, Any] | None = None


def read_document(path: Path) -> Document:
    """The tokenizer.json in a file. Raises FormatError for anything else."""
    return parse_document(read_text(path), path)


def parse_document(text: str, where: str | Path, rules: dict[str, Any] | None = None) -> Document:
    """A tokenizer.json of its text. The library checks the rest when it loads it."""
    with malformed(where):
        raw = json.loads(text)
        vocab = raw["model"]["vocab"]
        ids = dict(vocab) if isinstance(vocab, dict) else {piece[0]: i for i, piece in enumerate(vocab)}
        ids |= {token["content"]: token["id"] for token in raw.get("added_tokens") or []}
        return Document(text=text, parsed=raw, ids=ids, rules=rules)


@contextmanager
def malformed(where: str | Path) -> Iterator[None]:
    """What goes wrong while a document is taken apart that nothing has checked yet becomes FormatError."""
    try:
        yield
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise FormatError(where, f"is no tokenizer.json: {error!r}") from error
