"""`llmos info MODEL`."""

from collections.abc import Mapping
from typing import Any

import click

from llmos.cli.formats import memory_option, model_options
from llmos.cli.loading import told_notices
from llmos.cli.names import complete_model
from llmos.cli.terminal import Progress, write_json
from llmos.core.units import format_bytes

__all__ = ["command"]

_LABEL = 23  # columns: the longest label and a space


@click.command("info")
@click.argument("model", shell_complete=complete_model)
@model_options
@memory_option
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
def command(model: str, as_json: bool, **settings: Any) -> None:
    """Show what a model is made of: family, sizes, formats, prompt format, hashes. It is not loaded for that."""
    from llmos.api import describe_model

    with told_notices(), Progress() as progress:
        facts = describe_model(model, progress=progress, **settings)
    if as_json:
        write_json(facts)
    else:
        _show(facts, "")


def _show(facts: Mapping[str, Any], indent: str) -> None:
    for key, value in facts.items():
        label = indent + key.removeprefix("n_").replace("_bytes", " size").replace("_", " ") + ":"
        if isinstance(value, Mapping):
            click.echo(label)
            _show(value, indent + "  ")
        elif value is not None and value != []:
            click.echo(f"{label:<{_LABEL}}{_worded(key, value)}")


def _worded(key: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("bytes"):
        return format_bytes(value)
    return f"{value:,}" if key == "parameters" else str(value)
