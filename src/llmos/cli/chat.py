"""A conversation at a terminal, with line editing and a history that outlives it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from llmos.cli.interrupts import heard_interrupts
from llmos.cli.terminal import tell
from llmos.core.env import environment
from llmos.core.errors import LlmosError

__all__ = ["converse"]

_HELP = "/reset forgets what was said, /exit or ctrl-D leaves, ctrl-C stops an answer"
_HISTORY_LINES = 1000


def converse(model: Any, sampling: dict[str, Any], chat: bool | None) -> None:
    """Talk until /exit, ctrl-D or ctrl-C at the prompt. chat: None takes the chat form where the model has one."""
    as_chat = model.has_chat_template if chat is None else chat
    messages: list[dict[str, str]] = []
    click.echo(f"{model.name}: {_manner(model, as_chat)}", err=True)
    click.echo(_HELP, err=True)
    with heard_interrupts(), _history(environment().state / "history"):
        for line in _lines():
            if line.startswith("/"):
                if _obey(line, messages):
                    return
                continue
            messages.append({"role": "user", "content": line})
            answer = _answer(model, messages if as_chat else line, sampling)
            if answer is None:
                messages.pop()
            else:
                messages.append({"role": "assistant", "content": answer})


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


def _obey(line: str, messages: list[dict[str, str]]) -> bool:
    """Carry out a command of the conversation; True ends it."""
    if line in ("/exit", "/quit"):
        return True
    if line == "/reset":
        messages.clear()
        click.echo("the conversation is forgotten", err=True)
    elif line == "/help":
        click.echo(_HELP, err=True)
    else:
        click.echo(f"{line.split()[0]} is not a command; /help lists them", err=True)
    return False


def _answer(model: Any, prompt: Any, sampling: dict[str, Any]) -> str | None:
    """Stream one answer; None where it could not be given. Ctrl-C keeps what was said so far."""
    text = ""
    try:
        for piece in model.start(prompt, **sampling):
            text += piece
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        pass
    except LlmosError as error:
        tell(str(error))
        return None
    sys.stdout.write("\n")
    return text


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
