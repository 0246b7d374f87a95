"""`quantization_config` of a checkpoint: understood completely, or refused by the name of the field."""

from collections.abc import Mapping
from typing import Any, TypeVar

from llmos.core.config import from_dict
from llmos.core.errors import FormatError, UserError

__all__ = ["read_settings", "refuse_used"]

T = TypeVar("T")


def read_settings(kind: type[T], raw: Mapping[str, Any], where: str, ignored: frozenset[str]) -> T:
    """The fields of a table as an instance of a dataclass; null leaves a field to its default. ignored: those that say how it was made."""
    known = {name: value for name, value in raw.items() if name not in ignored and value is not None}
    try:
        return from_dict(kind, known)
    except UserError as error:
        raise FormatError(where, str(error)) from error


def refuse_used(raw: Mapping[str, Any], names: frozenset[str], where: str) -> None:
    """Raise FormatError for features that are not read; null, false and empty mean that they are not used."""
    used = sorted(name for name in names & raw.keys() if raw[name] not in (None, False, [], {}, "none"))
    if used:
        raise FormatError(
            where,
            f"{', '.join(f'{name} = {raw[name]!r}' for name in used)[:300]} is not supported: take another checkpoint of the model",
        )
