"""What a bundle's graph says of its packed weights, held to the graph that is compiled.

Compilers differ in operations: each has passes that the one before had not. That matters to nobody, since a bundle's own graph is
never compiled; where its weights lie and in which formats does. What is read here is a stranger's, of any shape.
"""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

from llmos.compiler.graph import Graph, to_dict

__all__ = ["other_weights"]


_MOST_TEXT = 300  # of an error: a stranger's names may be long


class _Stored(NamedTuple):
    """A parameter of a block: rows, columns and the like; the parameters stacked in it; its format, plain for float32 rows."""

    shape: list[int]
    parts: list[str]
    format: str


_Table = dict[str, _Stored]


def other_weights(graph: Graph, stored: Any) -> str | None:
    """How the packed weights of a stored graph (`to_dict`) differ from those of a graph; None where they do not.

    Parameters of a block lie in the order in which its operations first read them. Raises ValueError for what is no graph.
    """
    try:
        found = _difference(to_dict(graph), stored)
        return None if found is None else found[:_MOST_TEXT]
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError) as error:
        raise ValueError(f"is no graph: {error!r}") from error


def _difference(wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> str | None:
    if len(wanted["layers"]) != len(stored["layers"]):
        return f"it has {len(stored['layers'])} layers, not {len(wanted['layers'])}"
    for (prefix, ours), (other, theirs) in zip(_instances(wanted), _instances(stored), strict=True):
        if prefix != other:
            return f"parameters {other!r}... lie where those of {prefix!r} are expected"
        if ours != theirs:
            name = next(name for name in (*ours, *theirs) if ours.get(name) != theirs.get(name))
            return f"{prefix}{name} is {_text(theirs.get(name))}, not {_text(ours.get(name))}"
        if list(ours) != list(theirs):
            return f"the parameters {prefix}... lie in the order {', '.join(theirs)}, not {', '.join(ours)}"
    reads, has = wanted["encoder"], stored["encoder"]
    if reads is None or has is None:
        return None if reads is has else "one has an encoder, the other has none"
    return _difference(reads, has)


def _instances(graph: Mapping[str, Any]) -> Iterator[tuple[str, _Table]]:
    """Every block where it stands. A table is made once for each kind: a forged graph may have large ones in many layers."""
    kinds = [_table(block) for block in graph["kinds"]]
    yield "", _table(graph["prologue"])
    for prefix, kind in zip_longest(graph["prefixes"], graph["layers"]):
        yield prefix, kinds[kind]
    yield "", _table(graph["epilogue"])


def _table(block: Mapping[str, Any]) -> _Table:
    """Parameters in their order, which JSON keeps of operations only."""
    formats: dict[str, str] = {}
    names = dict.fromkeys(name for node in block["nodes"] for name in node["params"])
    if names.keys() != block["shapes"].keys():
        raise KeyError("parameters that no operation reads, or without a shape")
    for node in block["nodes"]:
        attrs, params = node["attrs"], node["params"]
        noted = attrs.get("formats") or ([attrs["format"]] if "format" in attrs else [])
        formats |= dict(zip(params, noted, strict=False))
    return {
        name: _Stored(block["shapes"][name], block["fused"].get(name, [name]), formats.get(name, "plain"))
        for name in names
    }


def _text(found: _Stored | None) -> str:
    if found is None:
        return "missing"
    stacked = "" if len(found.parts) == 1 else f", of {' and '.join(map(str, found.parts))}"
    return f"{found.format} of {'x'.join(map(str, found.shape))}{stacked}"
