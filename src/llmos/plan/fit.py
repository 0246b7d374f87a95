"""What fits: the largest setting under a limit, and how many pages of keys and values a model should have."""

from collections.abc import Callable

__all__ = ["largest", "pool_pages"]

_CONTEXTS = 4  # full contexts that the pool holds where nobody says how many sequences will run
_SHARE = 4  # and it takes at most a quarter of what is free then


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number from 1 to `most` that fits, 0 where none does. What fits must fit for all smaller numbers too."""
    low, high = 0, max(most, 0)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def pool_pages(context_pages: int, page_bytes: int, free_bytes: int, batch: int | None = None) -> int:
    """Pages of the pool of keys and values: those of `batch` full contexts.

    Without a batch four contexts, or what a quarter of the free memory holds, but at least one context.
    """
    if batch is not None:
        return batch * context_pages
    return max(context_pages, min(_CONTEXTS * context_pages, free_bytes // _SHARE // page_bytes))
