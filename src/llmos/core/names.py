"""Names that do not exist: the nearest that do."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from llmos.core.errors import UserError

__all__ = ["nearest", "refuse_unknown", "takes_named"]

P = ParamSpec("P")
T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` of the nearest of the known names, or `known: x, y` where none is near."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"


def refuse_unknown(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise UserError, with the nearest, for settings that do not exist."""
    names = list(known)
    for name in given:
        if name not in names:
            raise UserError(f"unknown setting {name!r}: {nearest(name, names)}")


def takes_named(function: Callable[P, T]) -> Callable[P, T]:
    """The function, which answers a misspelt keyword as settings are answered, and not with Python's TypeError."""
    parameters = inspect.signature(function).parameters
    known = [name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY]

    @functools.wraps(function)
    def checked(*args: P.args, **settings: P.kwargs) -> T:
        refuse_unknown((name for name in settings if name not in parameters), known)
        return function(*args, **settings)

    return checked
