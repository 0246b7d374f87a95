"""Rope as configs write it: transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters); both only where they agree.

Source of the kinds and their defaults: transformers `modeling_rope_utils.py`.
"""

import math
from collections.abc import Callable
from typing import Any

from llmos.core.errors import UserError
from llmos.models.fields import Fields
from llmos.models.spec import Llama3Scaling, LongFactors, Rope, Yarn

__all__ = ["rope_from", "rope_of"]

_NAMES = ("rope_theta", "partial_rotary_factor")


def rope_of(
    c: Fields, head_dim: int, *, theta: float = 10000.0, share: float = 1.0, names: tuple[str, str] = _NAMES
) -> Rope:
    """The rope of a config. theta: where the config names none; share: part of a head that turns, where it names none; names: a
    family's own of the two.

    Raises UserError for kinds that are not understood and for numbers and tables that contradict each other.
    """
    scaling, parameters = c.table("rope_scaling"), c.table("rope_parameters")
    table = parameters or scaling
    if scaling and parameters and any(_today(parameters).get(k) != v for k, v in _today(scaling).items()):
        raise UserError(
            f"{c.where}: rope_scaling and rope_parameters say different things: remove the one that is wrong"
        )
    theta = _stated(c, table, names[0], _NAMES[0], theta)
    share = _stated(c, table, names[1], _NAMES[1], share)
    return rope_from(c, table, head_dim, theta=theta, share=share)


def _stated(c: Fields, table: Fields | None, own: str, usual: str, default: float) -> float:
    """A number that a config may state under two names and in its table of rope: whoever states it must say the same."""
    said: dict[str, float] = {}
    for fields, name in ((c, own), (c, usual), (table, usual)):
        if fields is None:
            continue
        fields.read.add(name)
        if fields.raw.get(name) is not None:
            said[name if fields is c else f"that of {fields.where}"] = fields.number(name)
    if len(set(said.values())) > 1:
        first, *others = said
        raise UserError(
            f"{c.where}: {first} differs from {' and '.join(others)} ({', '.join(f'{value:g}' for value in said.values())}): "
            "remove what is wrong"
        )
    return next(iter(said.values()), default)


def rope_from(c: Fields, table: Fields | None, head_dim: int, *, theta: float, share: float = 1.0) -> Rope:
    """The rope that one table describes; c: the config around it, for what some kinds read there."""
    rotated = _rotated(c, head_dim, share)
    if table is None:
        return Rope(theta=theta, rotated=rotated)
    theta = table.number("rope_theta", theta)
    kind = table.raw.get("rope_type", table.raw.get("type", "default"))
    table.read |= {"rope_type", "type"}
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UserError(f"{table.where}: rope_type {kind!r} is not supported; understood: {', '.join(_KINDS)}")
    out = Rope(theta=theta, rotated=rotated, **_KINDS[kind](c, table))
    table.refuse_unread(frozenset(), "rope")
    return out


def _rotated(c: Fields, head_dim: int, share: float) -> int | None:
    """How many dimensions turn; None for all of them."""
    n = int(head_dim * share) if 0 < share <= 1 else 0
    if n < 2:
        raise UserError(f"{c.where}: partial_rotary_factor {share} of a head of {head_dim} leaves nothing to turn")
    return None if n == head_dim else n


def _default(c: Fields, table: Fields) -> dict[str, Any]:
    return {}


def _linear(c: Fields, table: Fields) -> dict[str, Any]:
    return {"linear_factor": table.number("factor")}


def _llama3(c: Fields, table: Fields) -> dict[str, Any]:
    scaled = Llama3Scaling(
        factor=table.number("factor"),
        low_freq_factor=table.number("low_freq_factor"),
        high_freq_factor=table.number("high_freq_factor"),
        original_context=table.integer("original_max_position_embeddings"),
    )
    return {"llama3": scaled}


def _long(c: Fields, table: Fields) -> dict[str, Any]:
    """longrope, which older Phi-3 configs call su. Their original context stands in the config."""
    context = c.integer("max_position_embeddings")
    around = c.integer("original_max_position_embeddings", context)
    original = table.integer("original_max_position_embeddings", around)
    if c.raw.get("original_max_position_embeddings") and original != around:
        raise UserError(
            f"{c.where}: original_max_position_embeddings differs from that of {table.where}: remove the one that is wrong"
        )
    factor = table.number("factor", context / original)
    default = 1.0 if factor <= 1 or original == 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    factors = LongFactors(
        short=table.numbers("short_factor"), long=table.numbers("long_factor"), original_context=original
    )
    return {"long": factors, "magnitude": table.number("attention_factor", default)}


def _yarn(c: Fields, table: Fields) -> dict[str, Any]:
    original = table.integer("original_max_position_embeddings", c.integer("max_position_embeddings"))
    factor = table.number("factor")
    stretched = Yarn(
        factor=factor,
        original_context=original,
        beta_fast=table.number("beta_fast", 32.0),
        beta_slow=table.number("beta_slow", 1.0),
        truncate=table.flag("truncate", True),
    )
    mscale, mscale_all = table.number("mscale", 0.0), table.number("mscale_all_dim", 0.0)
    if min(mscale, mscale_all) < 0:
        raise UserError(f"{table.where}: mscale and mscale_all_dim must not be negative")
    if mscale and mscale_all:
        default = _sharpening(factor, mscale) / _sharpening(factor, mscale_all)
    else:
        default = _sharpening(factor, 1.0)
    return {"yarn": stretched, "magnitude": table.number("attention_factor", default)}


def _sharpening(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


_KINDS: dict[str, Callable[[Fields, Fields], dict[str, Any]]] = {
    "default": _default,
    "linear": _linear,
    "llama3": _llama3,
    "longrope": _long,
    "su": _long,
    "yarn": _yarn,
}


def _today(table: Fields) -> dict[str, object]:
    """A rope table's fields under their names of today."""
    return {"rope_type" if name == "type" else name: value for name, value in table.raw.items()}
