"""Damage to JSON: values of other types, huge numbers, deep nesting, keys twice, gone or of another name, bytes that are no text."""

import json
import random
from typing import Any

__all__ = ["json_damaged"]

_NUMBERS = [0, -1, 1, 2, 7, 2**31, 2**32, 2**53, 2**62, 2**64, 10**30, 10**400, -(2**63), 0.5, 1e308, -0.0]
_TEXTS = ["", "x", "\ud800", "\0", "a" * 70_000, "../../etc", "<s>", "é" * 300, "(a+)+$", "null"]


def json_damaged(rng: random.Random, data: bytes) -> bytes:
    """Raises ValueError where the data is no JSON object or list with something in it."""
    kind = rng.randrange(16)
    if kind == 0:
        return _in_text(rng, data)
    document = json.loads(data)
    node, key = _somewhere(rng, document)
    if kind == 1:
        del node[key]
    elif kind == 2 and isinstance(node, dict):
        node[rng.choice(["x", "", key + "x", key[:-1], "__class__"])] = node.pop(key)
    elif kind == 3:
        other, place = _somewhere(rng, document)
        node[key] = json.loads(json.dumps(other[place]))
    elif kind == 4 and isinstance(node[key], list) and node[key]:
        node[key] = node[key] * rng.choice([2, 3, 1000 // len(node[key]) + 1])
    elif kind == 5 and isinstance(node, dict):
        return _key_twice(rng, document, node, key)
    elif kind < 11:
        node[key] = _value(rng)
    else:
        node[key] = _near(rng, document, node[key])
    return _written(document)


def _written(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _near(rng: random.Random, document: Any, value: Any) -> Any:
    """A value of the same kind: a number beside it, the other truth value, another text of the document, a list in another order."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + rng.choice([-1, 1]) if rng.random() < 0.5 else value * rng.choice([2, 0.5, -1])
    if isinstance(value, list):
        return rng.sample(value, len(value))
    texts = [node[key] for node, key in (_somewhere(rng, document) for _ in range(20)) if isinstance(node[key], str)]
    return rng.choice([*texts, "", "x"])


def _value(rng: random.Random) -> Any:
    kind = rng.randrange(9)
    if kind < 3:
        return rng.choice(_NUMBERS)
    if kind < 5:
        return rng.choice(_TEXTS)
    if kind == 5:
        return _nested(rng, rng.choice([3, 50, 900]))
    return rng.choice([None, True, False, [], {}, [[]], [{}], {"": None}, float("nan"), float("inf"), [0] * 5000])


def _nested(rng: random.Random, depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def _somewhere(rng: random.Random, document: Any) -> tuple[Any, Any]:
    """A container in the document and one of its keys; those near the top are likelier."""
    node = document
    if not isinstance(node, dict | list) or not node:
        raise ValueError("nothing to damage")
    while True:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            return node, key
        node = inner


def _key_twice(rng: random.Random, document: Any, node: dict, key: str) -> bytes:
    """The same key with two values, of which a reader must take one."""
    mark = "\u0001twice\u0001"
    node[mark] = _value(rng)
    return _written(document).replace(json.dumps(mark).encode(), json.dumps(key).encode())


def _in_text(rng: random.Random, data: bytes) -> bytes:
    """What `json` cannot write: unfinished, nested without end, not UTF-8, numbers of many digits."""
    at = rng.choice([0, len(data), rng.randrange(len(data) + 1)])
    deep = rng.choice([b"[", b'{"a":', b"[[{"]) * rng.choice([10, 2000, 200_000])
    extra = rng.choice(
        [deep, b"\xff\xfe", b"\xed\xa0\x80", b"9" * rng.choice([20, 5000]), b"\xef\xbb\xbf", b"NaN", b'"', b","]
    )
    return data[:at] + extra + data[at:]
