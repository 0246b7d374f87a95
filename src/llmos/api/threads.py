"""How many threads a model gets: those asked for, and never more than the cores that the process may keep busy.

The threads of a step wait for each other's tiles. One more than there are cores takes time from the one that it waits for.
"""

from llmos.core.env import environment
from llmos.hardware import usable_cores

__all__ = ["chosen_threads", "told_of_threads"]


def chosen_threads(asked: int | None) -> int:
    """asked: None as LLMOS_THREADS says, else every usable core."""
    usable = usable_cores()
    return min(_wanted(asked) or usable, usable)


def told_of_threads(asked: int | None) -> tuple[str, ...]:
    """What to say where fewer are used than were asked for."""
    wanted, chosen = _wanted(asked), chosen_threads(asked)
    if wanted is None or wanted <= chosen:
        return ()
    cores = "the one core" if chosen == 1 else f"the {chosen} cores"
    return (f"{wanted} threads were asked for and {chosen} will be used: {cores} that this process may keep busy",)


def _wanted(asked: int | None) -> int | None:
    return asked or environment().threads
