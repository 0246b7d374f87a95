"""The way into training that needs no torch: reads the recipe, checks what can be checked, then imports the loop."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llmos.core.config import load_toml
from llmos.core.errors import UserError
from llmos.trainer.recipe import Recipe

if TYPE_CHECKING:
    from llmos.trainer.loop import Result

__all__ = ["train", "train_file"]


def train_file(path: str | Path, overrides: Mapping[str, str] | None = None, *, progress: bool = True) -> "Result":
    """Trains what a TOML recipe describes, going on from its newest checkpoint if there is one.

    overrides: dotted settings as text, laid over the file (`{"schedule.steps": "100"}`). progress: say on stderr how it goes.
    Raises UserError for a recipe that cannot be used or where torch is missing; KeyboardInterrupt on ctrl-C, after the
    state was saved.
    """
    return train(load_toml(Recipe, path, overrides), progress=progress)


def train(recipe: Recipe, *, progress: bool = False) -> "Result":
    """Trains a recipe. See `train_file`."""
    try:
        from llmos.trainer.loop import run
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "safetensors", "tokenizers", "rich"):
            raise
        raise UserError(f"training needs {error.name}, which is not installed: pip install 'llmos[train]'") from error
    return run(recipe, progress=progress)
