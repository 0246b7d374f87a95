"""What may be given as a prompt: text, token ids, or chat messages; and what is said of anything else."""

import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from llmos.api.sampling import Settings
from llmos.core.errors import UserError

__all__ = ["Messages", "Prompt", "messages_of", "strange_roles", "template_arguments", "token_ids", "without_tokenizer"]

Messages: TypeAlias = Sequence[Mapping[str, Any]]
Prompt: TypeAlias = str | Sequence[int] | np.ndarray | Messages

_FORMS = "a prompt is text, a list of token ids, or a list of chat messages"


def messages_of(given: Any) -> Messages:
    """Chat messages whose contents are text or text parts; a text alone is one message of the user.

    Parts as in OpenAI's API, {"type": "text", "text": ...}, stay for the template, see `text.render_chat`. No content may stand
    beside tool calls. Raises UserError for anything else.
    """
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if isinstance(given, Mapping):
        raise UserError(f"chat takes a list of messages, not a single one: [{dict(given)!r}]")
    if not isinstance(given, Sequence) or isinstance(given, (bytes, bytearray)):
        raise UserError(
            f"chat takes text or a list of messages, like {{'role': 'user', 'content': 'Hello'}}, not {_named(given)}"
        )
    if not given:
        raise UserError("there are no messages to answer: give at least one")
    for i, message in enumerate(given):
        if not isinstance(message, Mapping):
            raise UserError(
                f"message {i} must have a role and a content, like {{'role': 'user', 'content': 'Hello'}}; it is {message!r}"
            )
        _check_content(message, i)
    return given


def _check_content(message: Mapping[str, Any], i: int) -> None:
    """Raise UserError for a content that is neither text nor a list of text parts, nor absent beside tool calls."""
    content = message.get("content")
    if "content" not in message or isinstance(content, str) or (content is None and message.get("tool_calls")):
        return
    if not isinstance(content, Sequence) or isinstance(content, (bytes, bytearray)):
        raise UserError(f"the content of message {i} must be text, not {_named(content)}")
    for part in content:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else None
            what = f"a part of type {kind!r}" if isinstance(kind, str) and kind != "text" else _shortened(part)
            raise UserError(f"message {i} holds {what}: only parts {{'type': 'text', 'text': ...}} are understood")


_ROLES = {"system", "user", "assistant", "tool", "developer"}


def strange_roles(messages: Messages, template: str | None) -> list[str]:
    """Roles of messages that are none of the usual and that the chat template does not name either: it may drop or rename them."""
    roles = {role for message in messages if isinstance(role := message.get("role"), str)}
    return sorted(role for role in roles - _ROLES if role not in (template or ""))


def without_tokenizer(info: Mapping[str, Any]) -> str:
    """What is said of a model whose files have no tokenizer. info: its facts."""
    path = Path(info["path"])
    if path.suffix == ".bin":
        looked = f"tokenizer.bin or tok{info['vocab']}.bin beside {path}"
    elif path.suffix == ".gguf":
        looked = f"tokenizer.ggml.* in the metadata of {path}"
    elif path.suffix == ".llm":
        looked = f"its source had none when {path} was compiled"
    else:
        looked = f"tokenizer.json, tokenizer.model, vocab.json with merges.txt, vocab.txt or *.tiktoken in {path}"
    return (
        f"{info['name']} came without a tokenizer ({looked}): put the files of its tokenizer there, or give token ids to "
        "generate_tokens in Python"
    )


def template_arguments(chosen: Settings) -> dict[str, Any]:
    """What `text.render_chat` takes besides the messages. Raises UserError for a name that is its own."""
    given = dict(chosen.template_arguments)
    for name in ("format", "messages", "tools"):
        if name in given:
            raise UserError(f"template_arguments cannot hold {name!r}, which has a place of its own")
    return given | ({"tools": chosen.tools} if chosen.tools is not None else {})


def token_ids(given: Any, vocab: int) -> list[int]:
    """Token ids of a list, tuple, range or one-dimensional array of whole numbers below `vocab`.

    Raises UserError for anything else.
    """
    if hasattr(given, "tolist") and hasattr(given, "ndim"):  # numpy, torch
        if given.ndim != 1:
            raise UserError(
                f"the ids of a prompt are one row; this {type(given).__name__} has shape {tuple(given.shape)}: give one row of it"
            )
        given = given.tolist()
    if isinstance(given, (bytes, bytearray)):
        raise UserError(f"{_FORMS}, not {_named(given)}: decode it first")
    if isinstance(given, Mapping):
        raise UserError(f"{_FORMS}, not {_named(given)}: put a message into a list, ids come as input_ids")
    if not isinstance(given, Sequence):
        raise UserError(f"{_FORMS}, not {_named(given)}")
    ids = [_id(item, i) for i, item in enumerate(given)]
    for id in ids:
        if not 0 <= id < vocab:
            raise UserError(f"token id {id} is outside the vocabulary of {vocab} (0 to {vocab - 1})")
    return ids


def _id(item: Any, i: int) -> int:
    if not isinstance(item, bool) and isinstance(item, numbers.Integral):
        return int(item)
    if isinstance(item, str):
        hint = "several prompts are several calls (from several threads, they share the work)"
    elif isinstance(item, Sequence):
        hint = "the ids of a prompt are one flat list"
    else:
        hint = "token ids are whole numbers"
    raise UserError(f"{_FORMS}; item {i} of this one is {_shortened(item)}: {hint}")


def _named(value: Any) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name} ({_shortened(value)})"


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
