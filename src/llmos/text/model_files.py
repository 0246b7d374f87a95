"""Small files of a model folder: their text, their JSON, and what may stand in it."""

import json
from pathlib import Path
from typing import Any, TypeGuard

from llmos.core.errors import FormatError, UserError
from llmos.core.files import read_file

__all__ = ["is_id", "is_ids", "is_text", "is_texts_by_name", "read_json", "read_text"]


def read_text(path: Path) -> str:
    """The text of a file. Raises UserError where it cannot be read, FormatError where it is none."""
    try:
        return read_file(path).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")  # as text files are read
    except UnicodeDecodeError as error:
        raise FormatError(path, "is not UTF-8 text", offset=error.start) from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is no file."""
    if not path.exists():
        return {}
    try:
        raw = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise FormatError(path, "is not a JSON object")
    return raw


def is_text(value: object) -> TypeGuard[str]:
    """Whether it is text that UTF-8 can hold: JSON may hide half of a surrogate pair."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def is_id(value: object) -> bool:
    """Whether it is a token id."""
    return type(value) is int and 0 <= value < 2**31


def is_ids(value: object) -> bool:
    """Whether it is a list of token ids."""
    return isinstance(value, list | tuple) and all(map(is_id, value))


def is_texts_by_name(value: object) -> bool:
    """Whether it is an object of texts."""
    return isinstance(value, dict) and all(map(is_text, value)) and all(map(is_text, value.values()))
