"""Configuration: frozen keyword-only dataclasses are the one list of settings; TOML keys and flags are derived from them.

A nested dataclass is a TOML table and a dotted flag (`optimizer.lr`). Every value is checked against its annotation; an
unknown key is refused with the nearest known one. Annotations understood: bool, int, float, str, Path, Literal, X | None,
list[X], dict[str, X], and nested dataclasses. A field's help text stands in `metadata={"help": ...}`.
"""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from llmos.core.errors import FormatError, UserError

__all__ = ["Setting", "from_dict", "load_toml", "settings", "to_dict"]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One leaf of a configuration: its dotted name, its annotation, its default (MISSING where required), its help."""

    name: str
    type: Any
    default: Any
    help: str


def settings(cls: type, prefix: str = "") -> list[Setting]:
    """Every leaf setting of a configuration class in declaration order, nested ones with dotted names."""
    found = []
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[field.name]):
            found += settings(hints[field.name], f"{prefix}{field.name}.")
        else:
            default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
            found.append(Setting(prefix + field.name, hints[field.name], default, field.metadata.get("help", "")))
    return found


def load_toml(cls: type[T], path: str | Path, overrides: Mapping[str, str] | None = None) -> T:
    """The configuration in a TOML file, with dotted `overrides` given as text (`{"optimizer.lr": "3e-4"}`) laid over it.

    Raises FormatError for a file that is not TOML, UserError for unknown keys, wrong types and refused values.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, f"not a TOML file: {error}") from error
    for name, text in (overrides or {}).items():
        _override(cls, raw, name, text)
    try:
        return from_dict(cls, raw)
    except FormatError:
        raise
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def from_dict(cls: type[T], raw: Mapping[str, Any], where: str = "") -> T:
    """An instance of `cls` from plain data. Raises UserError naming the first key that is unknown or cannot be used."""
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls))}
    for key in raw:
        if key not in fields:
            raise UserError(unknown_key(where + key, [where + name for name in fields]))
    needed = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [where + name for name in needed if name not in raw]
    if missing:
        raise UserError(
            f"{', '.join(missing)} {'is missing; it' if len(missing) == 1 else 'are missing; they'} must be given"
        )
    values = {name: _convert(raw[name], hints[name], where + name) for name in fields if name in raw}
    try:
        return cls(**values)
    except UserError as error:
        raise UserError(f"{where.rstrip('.')}: {error}" if where else str(error)) from error


def to_dict(config: Any) -> dict[str, Any]:
    """Plain data that `from_dict` turns back into an equal configuration; fields that are None are left out."""
    out = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is not None:
            out[field.name] = _plain(value)
    return out


def unknown_key(key: str, known: list[str]) -> str:
    """The message for a key that does not exist."""
    near = difflib.get_close_matches(key, known, n=1)
    return f"unknown key {key!r}: " + (f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError(f"{where} must be a table, not {value!r}")
        return from_dict(typing.cast(type, hint), value, where + ".")
    if origin in (typing.Union, types.UnionType):
        inner = [arg for arg in args if arg is not type(None)]
        return None if value is None else _convert(value, inner[0], where)
    if origin is typing.Literal:
        if value not in args:
            near = difflib.get_close_matches(str(value), [str(arg) for arg in args], n=1)
            raise UserError(
                f"{where} is {value!r}; allowed: {', '.join(map(str, args))}"
                + (f" (did you mean {near[0]}?)" if near else "")
            )
        return value
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where} must be a list, not {value!r}")
        return origin(_convert(item, args[0], f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{where} must be a table, not {value!r}")
        return {key: _convert(item, args[1], f"{where}.{key}") for key, item in value.items()}
    return _scalar(value, hint, where)


def _scalar(value: Any, hint: type, where: str) -> Any:
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint in (int, float) and isinstance(value, bool)):
        raise UserError(f"{where} must be of type {hint.__name__}, not {value!r}")
    return value


def _override(cls: type, raw: dict, name: str, text: str) -> None:
    known = {setting.name: setting for setting in settings(cls)}
    if name not in known:
        raise UserError(unknown_key(name, list(known)))
    *tables, leaf = name.split(".")
    for table in tables:
        raw = raw.setdefault(table, {})
    raw[leaf] = _parse_text(text, known[name].type)


def _parse_text(text: str, hint: Any) -> Any:
    """Text from a flag as TOML would read it: quotes around a string may be left out."""
    if hint in (str, Path) or hint in (str | None, Path | None):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
