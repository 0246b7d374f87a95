"""What a chat template may use up: steps, the size of what it makes, and what it writes. A template is a program of a stranger.

Jinja's sandbox bars the way to Python's insides and bounds `range`; it does not bound time and memory. Everything that can make
much of little (a product, a format with a width, a join) says beforehand how large the result will be, and is refused where
that is too much. Sizes count characters of text and items of lists; they are far above what any prompt needs.
"""

import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2.utils import Namespace

__all__ = ["Budget", "TemplateLimit", "budget", "predicted", "rendering", "size_of_product"]

MOST_STEPS = 1_000_000  # of loops, calls and filters; larger values cost more
MOST_SIZE = 32_000_000  # of one value
MOST_WRITTEN = 64_000_000  # characters, those of nested blocks included
_PER_STEP = 256  # characters that one step handles
_WIDEST, _INTEGER_BITS = 9999, 8192


class TemplateLimit(ValueError):
    """A template wants more than a template may."""


class Budget:
    """What is left to one rendering. known: sizes of lists and dicts that were given to it, by identity."""

    def __init__(self, known: Mapping[int, int] | None = None):
        self._steps, self._written, self._known = MOST_STEPS, MOST_WRITTEN, known or {}

    def spend(self, size: int = 0, *, steps: int = 1) -> None:
        """Take steps, of which one handles a value of this size."""
        if size > MOST_SIZE:
            raise TemplateLimit("it asks for more memory than a template may have")
        self._steps -= steps + size // _PER_STEP
        if self._steps < 0:
            raise TemplateLimit(f"it takes more than {MOST_STEPS} steps")

    def check(self, value: Any) -> None:
        """Refuse a value that is too large as a whole, while it can still be told."""
        if self.size(value) > MOST_SIZE:
            raise TemplateLimit("it asks for more memory than a template may have")

    def write(self, size: int) -> None:
        self._written -= size
        if self._written < 0:
            raise TemplateLimit(f"it writes more than {MOST_WRITTEN} characters")

    def size(self, value: Any) -> int:
        """Characters and items of a value, of everything in it. Lists that hold one another many times count many times."""
        if isinstance(value, str | bytes):
            return len(value)
        total, nodes, open_ = 0, 0, [value]
        while open_:
            node = open_.pop()
            known = self._known.get(id(node))
            nodes += 1
            total += len(node) if isinstance(node, str) else known or 1
            if total > MOST_SIZE or nodes > self._steps:
                raise TemplateLimit("it asks for more memory than a template may have")
            if known is None:
                open_ += _inside(node)
        self._steps -= nodes - 1
        return total


def _inside(node: Any) -> Iterable[Any]:
    """What a list, a dict or a namespace holds."""
    if isinstance(node, list | tuple | set | frozenset | KeysView | ValuesView | ItemsView):
        return node
    if isinstance(node, Namespace):
        node = object.__getattribute__(node, "_Namespace__attrs")
    return [*node.keys(), *node.values()] if isinstance(node, Mapping) else ()


_current: ContextVar[Budget | None] = ContextVar("budget", default=None)


def budget() -> Budget:
    """That of the rendering that is going on; a fresh one where constants are computed beforehand."""
    return _current.get() or Budget()


@contextmanager
def rendering(given: Mapping[str, Any]) -> Iterator[Budget]:
    """A rendering with a budget of its own. given: the variables of the template, as plain data."""
    known: dict[int, int] = {}
    _note_sizes(given, known)
    token = _current.set(Budget(known))
    try:
        yield budget()
    finally:
        _current.reset(token)


def _note_sizes(value: Any, known: dict[int, int]) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        known[id(value)] = 1 + sum(_note_sizes(k, known) + _note_sizes(v, known) for k, v in value.items())
    elif isinstance(value, list | tuple):
        known[id(value)] = 1 + sum(_note_sizes(item, known) for item in value)
    return known.get(id(value), 1)


def size_of_product(operator: str, left: Any, right: Any) -> int:
    """Size of what an operator gives. Raises TemplateLimit for numbers of thousands of digits."""
    size = budget().size
    if operator == "*" and isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * max(right, 0))
    elif operator == "*" and isinstance(left, int):
        return max(left, 0) * size(right)
    elif operator == "*" and isinstance(right, int):
        return size(left) * max(right, 0)
    elif operator == "%" and isinstance(left, str):
        return _formatted(left, right)
    elif operator == "+" and not isinstance(left, int | float):
        return size(left) + size(right)
    return 0


def predicted(name: str, values: Sequence[Any], named: Mapping[str, Any]) -> int:
    """Size of what a filter or a method of a text gives, at most, or of what it is given. values: the text, then arguments."""
    size = sum(map(_length if name in _SHALLOW else budget().size, (*values, *named.values())))
    grows = _GROWING.get(name)
    try:
        return size + (grows([*values, *named.values()]) if grows else 0)
    except (TypeError, AttributeError, IndexError):  # arguments that the filter itself will refuse
        return size


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple | dict) else 1


def _check_bits(bits: int) -> None:
    if bits > _INTEGER_BITS:
        raise TemplateLimit("it computes with numbers of thousands of digits")


def _widths(values: Sequence[Any]) -> int:
    """The largest number among arguments, which may be a width."""
    return max((value for value in values[1:] if isinstance(value, int)), default=0)


def _texts(values: Sequence[Any]) -> int:
    return sum(len(value) for value in values[1:] if isinstance(value, str))


def _formatted(pattern: str, *values: Any) -> int:
    """Size of a format. A width may be written in it, or come as an argument where it has `*` or a field in a field."""
    if any(len(digits.lstrip("0")) > 4 for digits in re.findall(r"\d{5,}", pattern)):
        raise TemplateLimit(f"it formats with a width over {_WIDEST}")
    if re.search(r"%[^a-zA-Z%]*\*|\{[^{}]*\{", pattern):
        raise TemplateLimit("it formats with a width that is not written in the format")
    fields = pattern.count("%") + pattern.count("{")
    return len(pattern) + fields * (_WIDEST + sum(budget().size(value) for value in values))


# Filters that look at a list and not into what it holds.
_SHALLOW = {
    *("attr", "batch", "count", "d", "default", "first", "items", "last", "length", "list"),
    *("map", "reject", "rejectattr", "reverse", "select", "selectattr", "slice"),
}

_GROWING: dict[str, Callable[[Sequence[Any]], int]] = {
    "replace": lambda v: str(v[0]).count(str(v[1])) * len(str(v[2])),
    "join": lambda v: len(v[0]) * (_texts(v) if not isinstance(v[0], str) else budget().size(v[1])),
    "format": lambda v: _formatted(v[0], *v[1:]),
    "format_map": lambda v: _formatted(v[0], *v[1:]),
    "indent": lambda v: (v[0].count("\n") + 1) * (max(_widths(v), 4) + _texts(v)),
    "wordwrap": lambda v: len(v[0]) * (1 + _texts(v)),
    "expandtabs": lambda v: v[0].count("\t") * max(_widths(v), 8),
    "tojson": lambda v: budget().size(v[0]) * (8 + _widths(v) * 16 + _texts(v)),
    "pprint": lambda v: budget().size(v[0]) * 100,
    **dict.fromkeys(("center", "ljust", "rjust", "zfill", "batch", "slice"), lambda v: _widths(v)),
}
