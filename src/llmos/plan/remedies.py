"""Changes of settings with which a piece of work fits into memory: of one setting, else of as few as do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

from llmos.plan.fit import largest
from llmos.plan.running import PAGE_TOKENS

__all__ = ["Choice", "remedies"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What may be chosen of a piece of work: formats (None: what is taken unasked), tokens of a sequence, sequences."""

    weights: str | None
    kv: str | None
    context: int
    batch: int


Change = dict[str, str | int]


def remedies(
    needed: Callable[[Choice], int],
    now: Choice,
    free_bytes: int,
    *,
    counts: Sequence[str] = ("context", "batch"),
    weights: Sequence[str] = (),
    kv: Sequence[str] = (),
) -> list[Change]:
    """Changes from `now` that need no more than `free_bytes`, by name of the setting; empty where none helps.

    counts: those of context and batch that may be lowered; weights, kv: other formats, best first. One change each where that is
    enough, else as few together as are.
    """
    formats = {"kv": kv, "weights": weights}
    lowered = [name for name in counts if getattr(now, name) > _LEAST[name]]
    names = [*lowered, *(name for name, others in formats.items() if others)]
    for n_changes in range(1, len(names) + 1):
        groups = [set(group) for group in combinations(names, n_changes)]
        found = [_first(needed, now, free_bytes, group, formats) for group in groups]
        if any(found):
            return [change for change in found if change]
    return []


_LEAST = {"context": PAGE_TOKENS, "batch": 1}  # a page of keys and values is taken as a whole


def _first(
    needed: Callable[[Choice], int], now: Choice, free_bytes: int, group: set[str], formats: dict[str, Sequence[str]]
) -> Change | None:
    """The first change of exactly these settings that fits."""
    for choice in _with_formats(now, group, formats):
        fitting = _lowered(needed, choice, free_bytes, group)
        if fitting is not None:
            return {name: getattr(fitting, name) for name in ("weights", "kv", "batch", "context") if name in group}
    return None


def _with_formats(now: Choice, group: set[str], formats: dict[str, Sequence[str]]) -> Iterator[Choice]:
    names = [name for name in formats if name in group]
    for values in product(*(formats[name] for name in names)):
        chosen: dict[str, Any] = dict(zip(names, values, strict=True))
        yield replace(now, **chosen)


def _lowered(needed: Callable[[Choice], int], choice: Choice, free_bytes: int, group: set[str]) -> Choice | None:
    """The choice with the largest context or batch that fits; where both may go down, one sequence with the longest context."""
    if {"context", "batch"} <= group:
        choice = replace(choice, batch=1)
    name = "context" if "context" in group else "batch" if "batch" in group else None
    if name is None:
        return choice if needed(choice) <= free_bytes else None
    count = largest(lambda n: needed(_with(choice, name, n)) <= free_bytes, getattr(choice, name))
    return _with(choice, name, count) if count >= _LEAST[name] else None


def _with(choice: Choice, name: str, count: int) -> Choice:
    return replace(choice, context=count) if name == "context" else replace(choice, batch=count)
