"""Chat templates: Jinja in a sandbox, set up as transformers does, so that the same template gives the same bytes."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from llmos.core.errors import UserError
from llmos.text.prompt_format import PromptFormat

__all__ = ["render_chat"]

# What the expressions of a template may come to, which are a program in small.
_MISHAPS = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)


def render_chat(
    format: PromptFormat, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True, **extra: Any
) -> str:
    """The prompt text of a conversation: messages with `role` and `content`. extra: variables such as `tools`.

    Raises UserError where the model has no template, a message is malformed, or the template refuses the conversation.
    """
    if format.chat_template is None:
        raise UserError(
            "this model has no chat template: it was not trained for chat; use generate_text with a plain prompt"
        )
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str) or "content" not in message:
            raise UserError(
                f"message {i} must have a role and a content, like {{'role': 'user', 'content': 'Hello'}}; it is {message!r}"
            )
    from jinja2 import TemplateError

    try:
        template = _compile(format.chat_template)
        return template.render(
            messages=messages, add_generation_prompt=add_generation_prompt, **format.special, **extra
        )
    except (TemplateError, *_MISHAPS) as error:
        raise UserError(f"the model's chat template refuses this conversation: {_words(error)}") from error


def _words(error: Exception) -> str:
    return "it asks for more memory than there is" if isinstance(error, MemoryError) else str(error)


@lru_cache(maxsize=16)
def _compile(source: str):
    from datetime import datetime

    from jinja2 import TemplateError, ext, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(ext.Extension):
        """{% generation %} marks what the assistant says; rendering only passes it on."""

        tags = frozenset({"generation"})  # type: ignore[assignment]  # Jinja declares a set and only looks into it

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_pass_on"), [], [], body).set_lineno(line)

        def _pass_on(self, caller):
            return caller()

    def refuse(message):
        raise TemplateError(message)

    def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment.from_string(source)
