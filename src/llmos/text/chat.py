"""Conversations to prompts: the model's chat template rendered as transformers' `apply_chat_template` renders it."""

from collections.abc import Mapping, Sequence
from typing import Any

from llmos.core.errors import UserError
from llmos.text.prompt_format import PromptFormat
from llmos.text.template_data import plain, with_joined_parts, with_reasoning
from llmos.text.tool_schema import tool_schema

__all__ = ["check_templates", "render_chat"]

_TAG = "CONTINUE_FINAL_MESSAGE_TAG "
_REASONING = ("reasoning_content", "thinking", "reasoning")


def check_templates(format: PromptFormat, where: str) -> None:
    """Raise UserError that begins with `where` for a template that wants what is not there, naming it."""
    from llmos.text.template import compiled

    for name, source in {"default": format.chat_template, **format.named_templates}.items():
        if source is not None:
            try:
                compiled(source)
            except UserError as error:
                named = "" if name == "default" else f" (template {name})"
                raise UserError(f"{where}{named}: {error}") from error


def render_chat(
    format: PromptFormat,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Any] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    chat_template: str | None = None,
    add_generation_prompt: bool | None = None,
    continue_final_message: bool | str = False,
    **arguments: Any,
) -> str:
    """The prompt text of a conversation: messages with `role` and `content`.

    tools: JSON schemas, or Python functions with types and a docstring. chat_template: name of one of several.
    add_generation_prompt: begin the assistant's answer, unless the last message is to be continued; continue_final_message
    may name another field of it than content. arguments: variables of the template, such as enable_thinking.
    Raises UserError where the model has no template, a message is malformed, or the template refuses the conversation.
    """
    from llmos.text.template import compiled

    source = _choose(format, chat_template, tools)
    if add_generation_prompt and continue_final_message:
        raise UserError(
            "either the last message goes on (continue_final_message) or an answer begins (add_generation_prompt)"
        )
    template = compiled(source)
    chat = with_reasoning(_checked(messages))
    if not template.takes_parts:
        chat = with_joined_parts(chat)
    last = _open_last(chat, continue_final_message, source) if continue_final_message else ""
    variables = {
        **format.special,
        **{name: _plain(value, name) for name, value in arguments.items()},
        "messages": chat,
        "tools": None if tools is None else [_plain(tool_schema(tool), "tools") for tool in tools],
        "documents": _plain(documents, "documents"),
        "add_generation_prompt": not continue_final_message if add_generation_prompt is None else add_generation_prompt,
    }
    text = template.render(variables)
    return _cut(text, last) if continue_final_message else text


def _choose(format: PromptFormat, name: str | None, tools: Sequence[Any] | None) -> str:
    """As transformers chooses: by name, or the one for tools where there are tools, or the default."""
    named = format.named_templates | ({"default": format.chat_template} if format.chat_template is not None else {})
    if not named:
        raise UserError(
            "this model has no chat template: it was not trained for chat; use generate_text with a plain prompt"
        )
    wanted = name or ("tool_use" if tools is not None and "tool_use" in named else "default")
    if wanted not in named:
        raise UserError(
            f"this model has no chat template {wanted!r}; it has {', '.join(sorted(named))}: choose one with "
            f"template_arguments={{'chat_template': {sorted(named)[0]!r}}}"
        )
    return named[wanted]


def _checked(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as plain data, without what is None."""
    if not messages:
        raise UserError("there are no messages to answer: give at least one")
    chat = []
    for i, message in enumerate(messages):
        fields = ("content", "tool_calls", *_REASONING)
        known = isinstance(message, Mapping) and isinstance(message.get("role"), str)
        if not known or not any(name in message for name in fields):
            raise UserError(
                f"message {i} must have a role and a content, like {{'role': 'user', 'content': 'Hello'}}; it is {message!r}"
            )
        chat.append(_plain({name: value for name, value in message.items() if value is not None}, f"message {i}"))
    return chat


def _plain(value: Any, what: str) -> Any:
    try:
        return plain(value)
    except RecursionError as error:
        raise UserError(f"{what} is nested too deeply for a chat template, or holds itself") from error


def _open_last(chat: list[dict[str, Any]], field: bool | str, source: str) -> str:
    """Put a tag behind the field of the last message that goes on; its text before that."""
    name = field if isinstance(field, str) else "content"
    last = chat[-1]
    value = last.get(name)
    if value is None:
        raise UserError(f"the last message has no {name} that could be continued")
    names = [each for each in _REASONING if last.get(each) == value] if name in _REASONING else [name]
    if not any(each in source for each in names):
        raise UserError(f"the model's chat template does not write {name}, so it cannot be continued")
    if isinstance(value, list | tuple):
        part = next((part for part in reversed(value) if isinstance(part, dict) and "text" in part), None)
        if part is None:
            raise UserError("the last message has no text that could be continued")
        text, part["text"] = part["text"], part["text"] + _TAG
        return text
    for each in names:
        last[each] = value + _TAG
    return value


def _cut(text: str, last: str) -> str:
    """What was rendered up to the tag."""
    if last.strip() not in text or _TAG.strip() not in text:
        raise UserError("the model's chat template leaves out the last message, so it cannot be continued")
    at = text.rindex(_TAG.strip())
    kept_space = text[at : at + len(_TAG)] == _TAG
    return text[:at] if kept_space else text[:at].rstrip()
