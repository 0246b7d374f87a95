"""What the numbers of a config may be before anything is computed or allocated from them."""

import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmos.api.sampling import settings_from
from llmos.core.errors import FormatError, UserError

__all__ = ["check_generation", "check_numbers"]

_MOST_LAYERS = 2000  # a spec holds one object for each; every other size is compared with the weights
_EXACT = 2**53  # beyond it, a float and an integer are not the same number any more


def check_numbers(config: Mapping[str, Any], where: str | Path) -> None:
    """Raise FormatError for integers that no model has, naming the field. Families call what counts layers `..layer..`."""
    for name, value in _integers(config):
        if abs(value) >= _EXACT:
            raise FormatError(where, f"{name} is {reprlib.repr(value)}, which is no size of any model")
        if "layer" in name and value > _MOST_LAYERS:
            raise FormatError(where, f"{name} is {value}; models of up to {_MOST_LAYERS} layers are read")


def check_generation(generation: Mapping[str, Any], where: str | Path) -> None:
    """Raise FormatError for defaults of sampling that cannot be used, when the model is loaded and not when it first speaks."""
    check_numbers(generation, where)
    if not isinstance(generation.get("do_sample", False), bool | None):
        raise FormatError(where, f"do_sample must be true or false, not {reprlib.repr(generation['do_sample'])}")
    try:
        settings_from({}, generation, 1)
    except UserError as error:
        raise FormatError(where, str(error)) from error


def _integers(value: object, name: str = "") -> Iterator[tuple[str, int]]:
    """The integers of a parsed JSON document, with the name of the field that each belongs to."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _integers(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _integers(inner, name)
    elif type(value) is int:
        yield name, value
