"""`llmos train RECIPE.toml`. Its flags are the settings of a recipe, so there is one list of them."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

import click

from llmos.core.config import Setting, settings
from llmos.trainer import Recipe, train_file

__all__ = ["command"]


def _word(hint: Any) -> str:
    """How an annotation is written in the help: INT, adamw|muon, LIST, TABLE."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _word(next(arg for arg in args if arg is not type(None)))
    if origin is typing.Literal:
        return "|".join(map(str, args))
    names = {bool: "true|false", str: "TEXT", list: "LIST", dict: "TABLE"}
    return names.get(origin or hint, getattr(hint, "__name__", str(hint)).upper())


def _option(setting: Setting) -> click.Option:
    default = "" if setting.default in (dataclasses.MISSING, None, []) else f"[{setting.default}]"
    return click.Option(
        [f"--{setting.name}", setting.name.replace(".", "__")],
        metavar=_word(setting.type),
        help=" ".join(filter(None, [setting.help, default])),
    )


def _train(recipe: Path, **flags: str | None) -> None:
    names = {setting.name.replace(".", "__"): setting.name for setting in settings(Recipe)}
    overrides = {names[key]: text for key, text in flags.items() if text is not None}
    try:
        result = train_file(recipe, overrides, progress=True)
    except KeyboardInterrupt:
        click.echo("llmos: interrupted; the same command goes on from the last saved step", err=True)
        raise
    for name, bits in result.bits_per_byte.items():
        click.echo(f"{name}: {bits:.4f} bits per byte")
    click.echo(f"{result.steps} steps; the model is in {result.model}")


command = click.Command(
    "train",
    callback=_train,
    params=[
        click.Argument(["recipe"], type=click.Path(path_type=Path), metavar="RECIPE.toml"),
        *map(_option, settings(Recipe)),
    ],
    help=(
        "Train the model that a recipe describes, going on from its newest checkpoint if there is one.\n\n"
        "Every setting of the recipe is a flag, written as in TOML: --optimizer.lr 3e-4. What a flag says comes before the "
        "file. Ctrl-C saves the state; the same command goes on from there. Needs the extra: pip install 'llmos[train]'."
    ),
)
