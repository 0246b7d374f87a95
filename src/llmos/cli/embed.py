"""`llmos embed MODEL [TEXT...]`: vectors of texts, as JSON lines or as a file of numpy."""

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click

from llmos.cli.formats import memory_option, model_options
from llmos.cli.loading import load, told_notices
from llmos.cli.names import complete_model
from llmos.core.errors import UserError
from llmos.core.files import atomic_write

__all__ = ["command"]

_AT_ONCE = 256  # texts whose vectors are written together, so that a long file gives its first ones early


@click.command("embed")
@click.argument("model", shell_complete=complete_model)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--file", type=click.Path(path_type=Path), help="Read texts from a file, one in each line [none].")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write .npy (all vectors as one float32 array) or .jsonl there [JSON lines on standard output].",
)
@click.option(
    "--pooling", type=click.Choice(["mean", "cls", "last"]), help="How rows of tokens become one [the model's]."
)
@click.option("--normalize/--no-normalize", default=None, help="Vectors of length 1, or as they are [the model's].")
@click.option("--prompt", metavar="TEXT", help="Put before each text; empty for none [the model's].")
@click.option("--prompt-name", metavar="NAME", help="One of the model's own prompts [the model's].")
@click.option(
    "--max-tokens", type=click.IntRange(1), metavar="N", help="Most tokens of a text [the model's, else its context]."
)
@click.option(
    "--truncate",
    type=click.Choice(["error", "end"]),
    default="error",
    help="For longer ones: an error, or leave out their end [error].",
)
@model_options
@memory_option
@click.option(
    "--context",
    type=click.IntRange(1),
    metavar="N",
    help="Tokens to make room for [the model's own context, at most 8192].",
)
@click.option(
    "--threads", type=click.IntRange(1), metavar="N", help="Threads to use [LLMOS_THREADS, else every usable core]."
)
def command(model: str, texts: tuple[str, ...], file: Path | None, output: Path | None, **flags: Any) -> None:
    """Turn texts into vectors that lie near where texts mean the same.

    Texts are given as arguments, in a file, or on standard input, where each line is one.

    \b
    llmos embed sentence-transformers/all-MiniLM-L6-v2 "A sentence." "Another one."
    cat lines.txt | llmos embed ./my-model -o vectors.npy
    """
    if output is not None and output.suffix not in (".npy", ".jsonl"):
        raise click.UsageError(f"the output is {str(output)!r}; its name must end in .npy or .jsonl")
    if texts and file is not None:
        raise click.UsageError("texts are given as arguments or in --file, not both")
    how = {name: flags[name] for name in ("pooling", "normalize", "prompt", "prompt_name", "max_tokens", "truncate")}
    loaded = load(model, **{name: flags[name] for name in ("weights", "kv", "memory", "adapter", "context", "threads")})
    with told_notices():
        pairs = _embedded(loaded, texts or _lines(file), how)
        if output is not None:
            _write_file(pairs, output, loaded.info()["width"])
            return
        for line in _json_lines(pairs):
            sys.stdout.write(line)
            sys.stdout.flush()


def _lines(file: Path | None) -> Iterator[str]:
    """Texts of a file or of standard input: its lines without their ends."""
    if file is None and sys.stdin.isatty():
        raise UserError("there is no text: give it as an argument, with --file or on standard input")
    try:
        with open(file, encoding="utf-8") if file else sys.stdin as source:
            for line in source:
                yield line.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file or 'standard input'} is not UTF-8 text: {error.reason} at byte {error.start}"
        ) from error
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error


def _embedded(model: Any, texts: Iterable[str], how: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each text with its vector."""
    rest = iter(texts)
    while some := list(islice(rest, _AT_ONCE)):
        yield from zip(some, model.embed(some, **how), strict=True)


def _json_lines(pairs: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for text, vector in pairs:
        values = [float(str(value)) for value in vector]  # the shortest digits that give the same float32
        yield json.dumps({"text": text, "embedding": values}, ensure_ascii=False) + "\n"


def _write_file(pairs: Iterable[tuple[str, Any]], output: Path, width: int) -> None:
    import numpy as np

    with atomic_write(output) as file:
        if output.suffix == ".npy":
            vectors = [vector for _, vector in pairs]
            np.save(file, np.stack(vectors) if vectors else np.empty((0, width), np.float32), allow_pickle=False)
        else:
            file.writelines(line.encode() for line in _json_lines(pairs))
