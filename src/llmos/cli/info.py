"""`llmos info MODEL`."""

from collections.abc import Mapping
from typing import Any

import click

from llmos.cli.loading import load
from llmos.cli.terminal import write_json
from llmos.core.units import format_bytes

__all__ = ["command"]


@click.command("info")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
def command(model: str, as_json: bool) -> None:
    """Show what a model is made of: family, sizes, formats, prompt format, hashes."""
    facts = load(model).info()
    if as_json:
        write_json(facts)
    else:
        _show(facts, "")


def _show(facts: Mapping[str, Any], indent: str) -> None:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            click.echo(f"{indent}{key}:")
            _show(value, indent + "  ")
        elif value is not None:
            text = format_bytes(value) if key.endswith("bytes") and isinstance(value, int) else value
            click.echo(f"{indent}{key.replace('_', ' ')}: {text}")
