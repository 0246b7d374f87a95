"""The options of every verb that opens a model: number formats and adapters.

The formats are written out, so that a verb's help needs no compiler; a test compares the lists.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["KV", "WEIGHTS", "memory_option", "model_options"]

WEIGHTS = click.Choice(["float32", "float16", "bf16", "int8", "int4", "uint4"])
KV = click.Choice(["float32", "float16", "bf16", "int8"])

Command = TypeVar("Command", bound=Callable[..., Any])


def model_options(command: Command) -> Command:
    """Gives a command the parameters weights, kv and adapter, as `llmos.api.load_model` takes them."""
    options = (
        click.option("--weights", type=WEIGHTS, help="Weight format [the checkpoint's]."),
        click.option(
            "--kv",
            type=KV,
            help="Format of keys and values in memory [that of float32 and float16 weights, else bf16].",
        ),
        click.option(
            "--adapter",
            multiple=True,
            metavar="PATH",
            help="A LoRA adapter to merge into the model; may be given several times [none].",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def memory_option(command: Command) -> Command:
    """Gives a command the parameter memory, as `llmos.api.load_model` takes it."""
    return click.option(
        "--memory",
        type=click.Choice(["auto", "fast", "mapped"]),
        help="Weights in memory of their own, or mapped from a file; auto maps them where only that fits [LLMOS_MEMORY, else auto].",
    )(command)
