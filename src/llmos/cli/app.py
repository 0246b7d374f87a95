"""The command `llmos`: the list of verbs and what becomes of errors.

Exit codes: 0 done, 1 a defect of ours, 2 a request that cannot be carried out as put, 3 too little of something,
130 interrupted, 141 the reader of a pipe went away.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

import llmos
from llmos.cli.foreign_flags import hint_at_ours
from llmos.cli.terminal import tell
from llmos.cli.wording import in_flags
from llmos.core.env import environment
from llmos.core.errors import LlmosError
from llmos.core.log import set_up_logging

__all__ = ["cli", "main"]

# Verb -> (module of its command, what it does). The text stands here too, so that `llmos --help` imports no verb.
_VERBS = {
    "run": ("llmos.cli.run", "Generate text with a model, or chat with it."),
    "embed": ("llmos.cli.embed", "Turn texts into vectors."),
    "models": ("llmos.cli.models", "List the models that can be named."),
    "info": ("llmos.cli.info", "Show what a model is made of."),
    "plan": ("llmos.cli.plan", "Tell the memory and the speed of a verb beforehand."),
    "compile": ("llmos.cli.compile", "Compile a model into one file."),
    "train": ("llmos.cli.train", "Train a model from a recipe."),
    "cache": ("llmos.cli.cache", "List or remove what is kept on the disk to start faster."),
    "doctor": ("llmos.cli.doctor", "Examine this machine and this installation."),
    "completion": ("llmos.cli.completion", "Print the completion script of a shell."),
}

_BROKEN_PIPE = 141  # as a shell reports a process that SIGPIPE ended


class _Verbs(click.Group):
    """A group that imports a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return importlib.import_module(_VERBS[name][0]).command if name in _VERBS else None

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], _VERBS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"commands: {', '.join(_VERBS)}"
            ctx.fail(f"no such command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click itself would call it a failure of the command, with 1
            _silence_stdout()
            raise click.exceptions.Exit(_BROKEN_PIPE) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in _VERBS.items()])


@click.group(cls=_Verbs, name="llmos", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(llmos.__version__, prog_name="llmos")
def cli() -> None:
    """LLMOS: a model is a program. Name one, and it is compiled for this machine and run."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line (sys.argv without `args`) and exit with its code."""
    try:
        _prepare_console()
        set_up_logging(environment().log)
        code = cli.main(args, prog_name="llmos", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        (hint_at_ours(error) if isinstance(error, click.NoSuchOption) else error).show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        _silence_stdout()
        code = _BROKEN_PIPE
    except LlmosError as error:
        tell(in_flags(str(error)))
        code = error.exit_code
    except MemoryError:
        tell("out of memory: close something, or choose a smaller model, --weights int8 or --context")
        code = 3
    except Exception as error:
        code = _defect(error)
    sys.exit(code if isinstance(code, int) else 0)


def _prepare_console() -> None:
    """On Windows: UTF-8, also into pipes, and a console that knows the signs by which a line is wiped."""
    if sys.platform == "win32":
        import colorama  # click brings it there

        colorama.just_fix_windows_console()
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            if stream is not None:
                stream.reconfigure(encoding="utf-8")


def _defect(error: Exception) -> int:
    """One line for people; the traceback for those who ask for it."""
    if sys.stderr is not None and _debugging():
        traceback.print_exception(error)
    hint = "" if _debugging() else " (LLMOS_LOG=debug shows where)"
    tell(f"unexpected {type(error).__name__}: {error}{hint}")
    return 1


def _debugging() -> bool:
    try:
        return environment().log == "debug"
    except LlmosError:
        return False


def _silence_stdout() -> None:
    """Keep the interpreter from complaining, as it exits, about a pipe that nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
