"""What a chat template is given: plain data, as transformers makes it of messages, tools and arguments.

Source: transformers, utils/chat_template_utils.py, _plain_template_data and _alias_reasoning_fields.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["plain", "with_joined_parts", "with_reasoning"]

_REASONING = ("reasoning_content", "thinking", "reasoning")  # names of one field; templates read the first


def plain(value: Any) -> Any:
    """The value rebuilt from texts, numbers, lists and dicts; anything else is a sign that names its type.

    Objects have methods that the sandbox does not know. Raises RecursionError for a value that holds itself.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    for kind in (str, int, float):  # subclasses may carry methods of their own
        if isinstance(value, kind):
            return getattr(kind, f"__{kind.__name__}__")(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else [plain(item) for item in value]
    if type(value).__module__ == "numpy" and callable(getattr(value, "item", None)) and getattr(value, "ndim", 1) == 0:
        return plain(value.item())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if callable(getattr(value, "model_dump", None)):  # pydantic
        return plain(value.model_dump())
    return f"<{type(value).__name__}>"


def with_reasoning(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages whose reasoning, under whichever of its names, stands under those that templates read."""
    out = []
    for message in messages:
        reasoning = next((message[name] for name in _REASONING if message.get(name) is not None), None)
        if reasoning is not None:
            message = {"thinking": reasoning, **message, "reasoning_content": reasoning}
        out.append(message)
    return out


def with_joined_parts(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages whose contents are text: text parts are joined by line ends, for templates that know no parts."""
    return [_joined(message) for message in messages]


def _joined(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list | tuple) or not all(isinstance(part, dict) and "text" in part for part in content):
        return message
    return {**message, "content": "\n".join(str(part["text"]) for part in content)}
