"""What the numbers of a config may be, and what may be asked of this machine, before anything is computed or allocated."""

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmos.api.demand import Demand
from llmos.api.sampling import settings_from
from llmos.core.env import environment
from llmos.core.errors import FormatError, ResourceError, UserError
from llmos.core.units import format_bytes
from llmos.hardware import memory
from llmos.models import Spec

__all__ = [
    "MEMORY_MODES",
    "check_count",
    "check_generation",
    "check_memory",
    "check_numbers",
    "chosen_context",
    "chosen_memory",
    "chosen_reach",
]

MEMORY_MODES = ("auto", "fast", "mapped")

_MOST_LAYERS = 2000  # a spec holds one object for each; every other size is compared with the weights
_MOST_POSITIONS = 2**31 - 1  # the step ABI counts them in 32 bits
_DEFAULT_CONTEXT = 8192
_EXACT = 2**53  # beyond it, a float and an integer are not the same number any more


def check_numbers(config: Mapping[str, Any], where: str | Path) -> None:
    """Raise FormatError for integers that no model has, naming the field. Families call what counts layers `..layer..`."""
    for name, value in _integers(config):
        if abs(value) >= _EXACT:
            raise FormatError(where, f"{name} is {reprlib.repr(value)}, which is no size of any model")
        if "layer" in name and value > _MOST_LAYERS:
            raise FormatError(where, f"{name} is {value}; models of up to {_MOST_LAYERS} layers are read")


def check_count(name: str, value: object) -> None:
    """Raise UserError where a setting is given and is no whole number of at least 1."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value is not None and not whole:
        raise UserError(f"{name} is {value!r}; it must be a whole number of at least 1")


def check_generation(generation: Mapping[str, Any], where: str | Path) -> None:
    """Raise FormatError for defaults of sampling that cannot be used, when the model is loaded and not when it first speaks."""
    check_numbers(generation, where)
    if not isinstance(generation.get("do_sample", False), bool | None):
        raise FormatError(where, f"do_sample must be true or false, not {reprlib.repr(generation['do_sample'])}")
    try:
        settings_from({}, generation, 1)
    except UserError as error:
        raise FormatError(where, str(error)) from error


def chosen_context(spec: Spec, wanted: int | None) -> int:
    """Positions to make room for: `wanted`, or by default the model's own up to 8192. Raises UserError beyond what it can.

    A rope with long factors takes them beyond its original context, which is therefore the most that is chosen unasked.
    """
    most = chosen_reach(spec)
    if wanted is None:
        originals = (rope.long.original_context for rope, _ in spec.ropes if rope.long is not None)
        return min(most, _DEFAULT_CONTEXT, *originals)
    if not 1 <= wanted <= most:
        raise UserError(f"context {wanted} is not possible: this model can have 1 to {most} positions")
    return wanted


def chosen_reach(spec: Spec) -> int:
    """The largest context that the model can have."""
    return min(spec.context, _MOST_POSITIONS)


def chosen_memory(demand: Demand, mode: str | None, free_bytes: int) -> Demand:
    """The demand with weights in memory of their own, or mapped: as asked for, or in auto mapped where only that fits.

    mode: fast, mapped or auto, None as the environment says. Raises UserError for another one, and where there is nothing to map.
    """
    mode = environment().memory if mode is None else mode
    if mode not in MEMORY_MODES:
        raise UserError(f"memory is {mode!r}; allowed: {', '.join(MEMORY_MODES)}")
    mapped = replace(demand, mapped=True)
    if mode == "mapped" and not demand.mappable:
        raise UserError(
            "memory='mapped' needs packed weights in a file, for which LLMOS_IMAGES or the disk has no room: compile the model elsewhere, "
            "and load the .llm file"
        )
    only_mapped = demand.mappable and demand.needed() > free_bytes >= mapped.needed()
    return mapped if mode == "mapped" or (mode == "auto" and only_mapped) else demand


def check_memory(demand: Demand, free_bytes: int | None = None, mode: str | None = None) -> tuple[str, ...]:
    """What a user should know who did not ask for mapped weights (mode, as of `chosen_memory`) and gets them.

    Raises ResourceError where what a verb needs exceeds the free memory, with the settings that would fit.
    """
    free = memory().available if free_bytes is None else free_bytes
    if demand.needed() > free:
        raise ResourceError(demand.refusal(free))
    if not demand.mapped or (mode or environment().memory) == "mapped":
        return ()
    return (
        f"{format_bytes(demand.sizes.weights)} of weights do not fit beside the rest into the {format_bytes(free)} that are "
        "free: they are mapped from their file, and each token waits for what the system does not keep of it (memory='mapped' asks "
        "for that)",
    )


def _integers(document: object) -> Iterator[tuple[str, int]]:
    """The integers of a parsed JSON document, with the name of the field that each belongs to."""
    open_: list[tuple[str, object]] = [("", document)]
    while open_:
        name, value = open_.pop()
        if isinstance(value, Mapping):
            open_ += value.items()
        elif isinstance(value, list):
            open_ += [(name, inner) for inner in value]
        elif type(value) is int:
            yield name, value
