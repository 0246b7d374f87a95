"""A config.json that knows which of its fields were read, so that none is ignored by accident."""

import math
import reprlib
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from llmos.core.errors import UserError

__all__ = ["Fields"]

T = TypeVar("T")

_MISSING = object()


class Fields:
    """Checked access to a raw config. Every accessor marks the field as understood."""

    def __init__(self, raw: Mapping[str, Any], where: str = "config"):
        self.raw, self.where = dict(raw), where
        self.read: set[str] = set()

    def integer(self, name: str, default: Any = _MISSING, *, least: int = 1) -> int:
        """A size, or another whole number of at least `least`."""
        value = self._get(name, (int,), default)
        if value < least:
            raise UserError(f"{self.where}: {name} must be at least {least}, not {value}")
        return value

    def number(self, name: str, default: Any = _MISSING) -> float:
        """A finite number that float64 holds."""
        raw = self._get(name, (int, float), default)
        if abs(raw) > sys.float_info.max or math.isnan(raw):
            raise UserError(f"{self.where}: {name} must be a finite number, not {reprlib.repr(raw)}")
        return float(raw)

    def integer_or_none(self, name: str, default: int | None = None) -> int | None:
        """A size, or None where it is null; `default` where it is absent."""
        value = self._get(name, (int, type(None)), default)
        return None if value is None else Fields({name: value}, self.where).integer(name)

    def number_or_none(self, name: str, default: float | None = None) -> float | None:
        """A finite number, or None where it is null; `default` where it is absent."""
        value = self._get(name, (int, float, type(None)), default)
        return None if value is None else Fields({name: value}, self.where).number(name)

    def positive(self, name: str, default: Any = _MISSING) -> float:
        """A finite number above 0."""
        value = self.number(name, default)
        if value <= 0:
            raise UserError(f"{self.where}: {name} must be above 0, not {value}")
        return value

    def integers(self, name: str, default: Any = _MISSING) -> list[int]:
        """A list of whole numbers."""
        values = self._get(name, (list,), default)
        for value in values:
            if type(value) is not int:
                raise UserError(f"{self.where}: {name} must hold whole numbers, not {reprlib.repr(value)}")
        return list(values)

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        values = self._get(name, (list,), _MISSING)
        return tuple(Fields({name: value}, self.where).number(name) for value in values)

    def texts(self, name: str, default: Any = _MISSING) -> list[str]:
        """A list of texts."""
        values = self._get(name, (list,), default)
        for value in values:
            if not isinstance(value, str):
                raise UserError(f"{self.where}: {name} must hold texts, not {reprlib.repr(value)}")
        return list(values)

    def flag(self, name: str, default: Any = _MISSING) -> bool:
        return self._get(name, (bool,), default)

    def choice(self, name: str, allowed: Mapping[str, T], default: Any = _MISSING) -> T:
        """The field's value translated by `allowed`; any other value is refused by name."""
        value = self._get(name, (str,), default)
        if value not in allowed:
            raise UserError(f"{self.where}: {name} is {value!r}; understood: {', '.join(sorted(allowed))}")
        return allowed[value]

    def table(self, name: str) -> "Fields | None":
        """A nested object, or None where it is absent or null."""
        value = self._get(name, (dict, type(None)), None)
        return None if value is None else Fields(value, f"{self.where}.{name}")

    def expect(self, name: str, *allowed: Any) -> None:
        """The field, where present, must have one of the values that leave the mathematics as we compute it."""
        self.read.add(name)
        if name in self.raw and self.raw[name] not in allowed:
            raise UserError(
                f"{self.where}: {name} = {self.raw[name]!r} is not supported; understood: {', '.join(map(repr, allowed))}"
            )

    def refuse_unread(self, ignored: frozenset[str], family: str) -> None:
        """Raise UserError naming every field that nothing read and that is not known to leave the mathematics alone."""
        unread = sorted(self.raw.keys() - self.read - ignored)
        if unread:
            raise UserError(
                f"{self.where}: {family} fields that are not understood and may change the model: {', '.join(unread)}; "
                "remove them if they mean nothing, or ask for support"
            )

    def _get(self, name: str, types: tuple[type, ...], default: Any) -> Any:
        self.read.add(name)
        value = self.raw.get(name, _MISSING)
        if value is _MISSING or (value is None and default is not _MISSING and type(None) not in types):
            if default is _MISSING:
                raise UserError(f"{self.where}: {name} is missing")
            return default
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            wanted = " or ".join(t.__name__ for t in types)
            raise UserError(f"{self.where}: {name} must be {wanted}, not {value!r}")
        return value
