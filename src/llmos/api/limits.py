"""What the numbers of a config may be, and what may be asked of this machine, before anything is computed or allocated."""

import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmos.api.assemble import rope_bytes, weights_bytes
from llmos.api.sampling import settings_from
from llmos.compiler import PAGE_TOKENS, Graph, page_bytes
from llmos.core.errors import FormatError, ResourceError, UserError
from llmos.core.units import format_bytes
from llmos.hardware import memory
from llmos.models import Spec

__all__ = ["check_generation", "check_memory", "check_numbers", "chosen_context"]

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
    """Positions to make room for: `wanted`, or by default the model's own up to 8192. Raises UserError beyond what it can."""
    most = min(spec.context, _MOST_POSITIONS)
    if wanted is None:
        return min(most, _DEFAULT_CONTEXT)
    if not 1 <= wanted <= most:
        raise UserError(f"context {wanted} is not possible: this model can have 1 to {most} positions")
    return wanted


def check_memory(name: str, spec: Spec, graph: Graph, context: int) -> None:
    """Raise ResourceError where weights, rope tables and the keys and values of one context exceed the free memory."""
    weights, free = weights_bytes(graph), memory().available
    one_page = page_bytes(graph) + rope_bytes(spec, PAGE_TOKENS)
    need = -(-context // PAGE_TOKENS) * one_page
    if weights + need <= free:
        return
    fits = max(0, free - weights) // one_page * PAGE_TOKENS
    advice = (
        f"lower context to {fits}" if fits else "choose a smaller weight format (weights='int8') or a smaller model"
    )
    raise ResourceError(
        f"{name} needs {format_bytes(weights)} for weights and {format_bytes(need)} for a context of {context} tokens; "
        f"{format_bytes(free)} is free: {advice}"
    )


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
