"""Completion of model names: the catalogue, what was downloaded, and files where no name fits."""

import click
from click.shell_completion import CompletionItem

from llmos.models import CATALOGUE

__all__ = ["complete_model"]


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What may stand where a model is asked for. Of several words of one argument only the first is a model."""
    if ctx.params.get(param.name or "") and param.nargs == -1:
        return []
    names = [CompletionItem(name, help=entry.about) for name, entry in CATALOGUE.items() if name.startswith(incomplete)]
    if "/" in incomplete or not names:
        names += [CompletionItem(name) for name in _downloaded() if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


def _downloaded() -> list[str]:
    """Only asked where the catalogue has nothing, because it loads the Hub's library."""
    from llmos.cli.models import downloads

    return sorted(downloads())
