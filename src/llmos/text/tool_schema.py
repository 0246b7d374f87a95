"""A Python function as a tool: the JSON schema that transformers' `get_json_schema` makes of its types and docstring.

The docstring is Google's: what the function does, `Args:` with a line for each argument, perhaps `Returns:`. `(choices: ["a", "b"])`
at the end of an argument's line lists what it may be.
"""

import enum
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from llmos.core.errors import UserError

__all__ = ["tool_schema"]

_NAMES: dict[Any, str] = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
_CONTAINERS: dict[Any, str] = {list: "array", tuple: "array", dict: "object"}
_SECTIONS = ("Args:", "Returns:", "Raises:")


def tool_schema(tool: Any) -> Any:
    """The schema of a function; a schema (a dict) as it is. Raises UserError for anything else, and for types it cannot tell."""
    if isinstance(tool, Mapping):
        return tool
    if not inspect.isfunction(tool) and not inspect.ismethod(tool):
        raise UserError(
            f"a tool is a JSON schema (a dict) or a Python function with types and a docstring, not {tool!r}"
        )
    text = inspect.getdoc(tool)
    if not text:
        raise UserError(f"the tool {tool.__name__} has no docstring, which tells the model what it does")
    sections = _sections(text)
    described = _arguments(sections["Args:"])
    properties, required, returned = _types(tool)
    for name, schema in properties.items():
        if name not in described:
            raise UserError(
                f"the docstring of the tool {tool.__name__} does not describe its argument {name!r} under Args:"
            )
        schema |= _with_choices(described[name])
    parameters = {"type": "object", "properties": properties} | ({"required": required} if required else {})
    function: dict[str, Any] = {"name": tool.__name__, "description": sections[""].strip(), "parameters": parameters}
    if returned is not None:
        returns = sections["Returns:"].strip()
        function["return"] = returned | ({"description": returns} if returns else {})
    return {"type": "function", "function": function}


def _sections(text: str) -> dict[str, str]:
    """The docstring's parts, by their heading; "" is what comes first."""
    parts, current = dict.fromkeys(("", *_SECTIONS), ""), ""
    for line in text.strip().split("\n"):
        heading = line.strip()
        if heading in _SECTIONS:
            current = heading
        else:
            parts[current] += line + "\n"
    return parts


def _arguments(text: str) -> dict[str, str]:
    """Description of each argument. Lines that are indented deeper than the first belong to the argument before them."""
    found: dict[str, str] = {}
    name, depth = "", None
    for line in filter(str.strip, text.split("\n")):
        indent = len(line) - len(line.lstrip())
        depth = indent if depth is None else depth
        begins = re.match(r"(\w+):\s*(.*)", line.strip()) if indent <= depth else None
        if begins:
            name, found[begins[1]] = begins[1], begins[2].strip()
        elif name:
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def _with_choices(description: str) -> dict[str, Any]:
    choices = re.search(r"\(choices:\s*(.*?)\)\s*$", description, flags=re.IGNORECASE)
    if not choices:
        return {"description": description}
    try:
        listed = json.loads(choices[1])
    except ValueError as error:
        raise UserError(f"choices must be a JSON list, not {choices[1]}") from error
    listed = [choice.strip() if isinstance(choice, str) else choice for choice in listed]
    return {"enum": listed, "description": description[: choices.start()].strip()}


def _types(tool: Callable[..., Any]) -> tuple[dict[str, dict[str, Any]], list[str], dict[str, Any] | None]:
    """Schemas of the arguments, names of those without a default, and the schema of what is returned."""
    hints = typing.get_type_hints(tool)
    arguments = dict(inspect.signature(tool).parameters)
    first = next(iter(arguments), None)
    if first in ("self", "cls") and arguments[first].annotation is inspect.Parameter.empty:
        del arguments[first]
    untyped = [name for name in arguments if name not in hints]
    if untyped:
        raise UserError(f"the argument {untyped[0]!r} of the tool {tool.__name__} has no type")
    required = [name for name, argument in arguments.items() if argument.default is inspect.Parameter.empty]
    properties = {name: _schema(hint) for name, hint in hints.items() if name in arguments}
    try:
        returned = _schema(hints["return"]) if "return" in hints else None
    except UserError:  # the model never writes it
        returned = None
    return properties, required, returned


def _schema(hint: Any) -> dict[str, Any]:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if hint in _NAMES or hint in _CONTAINERS:
        return {"type": (_NAMES | _CONTAINERS)[hint]}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _listed([member.value for member in hint])
    if origin is typing.Literal:
        return _listed(list(parts))
    if origin is list:
        return {"type": "array", "items": _schema(parts[0])}
    if origin is tuple and len(parts) > 1 and ... not in parts:
        return {"type": "array", "prefixItems": [_schema(part) for part in parts]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(parts[1])}
    if origin in (typing.Union, types.UnionType):
        return _union(parts)
    raise UserError(f"a tool's argument of type {hint!r} has no JSON schema: write the schema by hand, as a dict")


def _listed(values: list[Any]) -> dict[str, Any]:
    if not values or any(type(value) not in _NAMES for value in values):
        raise UserError(f"a tool's argument is one of {values}, which are not all texts, numbers, booleans or None")
    kinds = list(dict.fromkeys(_NAMES[type(value)] for value in values))
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}


def _union(parts: tuple[Any, ...]) -> dict[str, Any]:
    schemas = [_schema(part) for part in parts if part is not type(None)]
    if len(schemas) == 1:
        out = schemas[0]
    elif all(schema.keys() == {"type"} and isinstance(schema["type"], str) for schema in schemas):
        kinds = sorted({schema["type"] for schema in schemas})
        out = {"type": kinds[0] if len(kinds) == 1 else kinds}
    else:
        out = {"anyOf": schemas}
    return out | ({"nullable": True} if type(None) in parts else {})
