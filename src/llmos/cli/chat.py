"""A conversation at a terminal, with line editing and a history that outlives it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from llmos.cli.interrupts import heard_interrupts
from llmos.cli.terminal import tell
from llmos.cli.wording import in_flags
from llmos.core.env import environment
from llmos.core.errors import LlmosError

__all__ = ["converse"]

_HELP = "/reset forgets what was said, /exit or ctrl-D leaves, ctrl-C stops an answer"
_HISTORY_LINES = 1000


def converse(model: Any, sampling: dict[str, Any], chat: bool | None) -> None:
    """Talk until /exit, ctrl-D or ctrl-C at the prompt. chat: None takes the chat form where the model has one."""
    as_chat = model.has_chat_template if chat is None else chat
    conversation = _Conversation(model, ({"overflow": "drop_oldest"} if as_chat else {}) | sampling, as_chat)
    click.echo(f"{model.name}: {_manner(model, as_chat)}", err=True)
    click.echo(_HELP, err=True)
    with heard_interrupts(), _history(environment().state / "history"):
        for line in _lines():
            if not line.startswith("/"):
                conversation.answer(line)
            elif conversation.obey(line):
                return


def _manner(model: Any, as_chat: bool) -> str:
    if as_chat:
        return "it answers what you write"
    return f"it goes on from what you write{'' if model.has_chat_template else ' (it has no chat template)'}"


def _lines() -> Iterator[str]:
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            sys.stdout.write("\n")
            return
        if line:
            yield line


@dataclass
class _Conversation:
    """What was said, and whether the person was told that its beginning no longer counts."""

    model: Any
    settings: dict[str, Any]
    as_chat: bool
    messages: list[dict[str, str]] = field(default_factory=list)
    told: bool = False

    def obey(self, line: str) -> bool:
        """Carry out a command of the conversation; True ends it."""
        if line in ("/exit", "/quit"):
            return True
        if line == "/reset":
            self.messages.clear()
            self.told = False
            click.echo("the conversation is forgotten", err=True)
        elif line == "/help":
            click.echo(_HELP, err=True)
        else:
            click.echo(f"{line.split()[0]} is not a command; /help lists them", err=True)
        return False

    def answer(self, line: str) -> None:
        """Stream one answer, and remember it where one could be given."""
        self.messages.append({"role": "user", "content": line})
        try:
            generation = self.model.start(self.messages if self.as_chat else line, **self.settings)
            self._tell_forgotten(generation)
            _write_out(generation)
        except LlmosError as error:
            self.messages.pop()
            tell(in_flags(str(error)))
            return
        except KeyboardInterrupt:  # before there was an answer
            self.messages.pop()
            sys.stdout.write("\n")
            return
        sys.stdout.write("\n")
        self.messages.append({"role": "assistant", "content": generation.text})

    def _tell_forgotten(self, generation: Any) -> None:
        if generation.dropped_tokens and not self.told:
            tell("the conversation is longer than the context: from here on its oldest part is left out")
            self.told = True


def _write_out(generation: Any) -> None:
    """Write the answer as it comes. Ctrl-C stops it and keeps what was said so far."""
    try:
        for piece in generation:
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        generation.cancel()


@contextmanager
def _history(path: Path) -> Iterator[None]:
    """Line editing with the history in `path`; without either where readline or the folder cannot be had."""
    try:
        import readline
    except ImportError:
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        readline.read_history_file(path)
    except OSError:
        readline.clear_history()
    try:
        yield
    finally:
        readline.set_history_length(_HISTORY_LINES)
        try:
            readline.write_history_file(path)
        except OSError as error:
            tell(f"the history was not saved: {error}")
