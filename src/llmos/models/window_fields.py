"""Sliding windows as configs write them: one for all layers, or a list that says which layers have it."""

from collections.abc import Callable

from llmos.core.errors import UserError
from llmos.models.fields import Fields

__all__ = ["SLIDING", "layer_types", "window_when_used"]

SLIDING, FULL = "sliding_attention", "full_attention"


def layer_types(c: Fields, count: int, sliding: Callable[[int], bool]) -> list[str]:
    """For each layer SLIDING or the type of full attention: the field layer_types, or where it is absent what `sliding` says."""
    usual = [SLIDING if sliding(i) else FULL for i in range(count)]
    types = c.texts("layer_types", usual)
    strange = sorted(set(types) - {SLIDING, FULL})
    if strange:
        raise UserError(f"{c.where}: layer_types holds {', '.join(strange)}; understood: {FULL}, {SLIDING}")
    if len(types) != count:
        raise UserError(f"{c.where}: layer_types has {len(types)} entries for {count} layers")
    return types


def window_when_used(c: Fields) -> int | None:
    """sliding_window of configs that also say whether it is used (use_sliding_window)."""
    window = c.integer_or_none("sliding_window", 4096)
    return window if c.flag("use_sliding_window", False) else None
