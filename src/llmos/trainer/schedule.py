"""Learning rate over steps, as a share of the peak. A pure function of the step, so a resumed run needs no state."""

import math

from llmos.trainer.recipe import Schedule

__all__ = ["rate"]


def rate(schedule: Schedule, step: int) -> float:
    """Share of the peak learning rate at `step` (0-based), between 0 and 1.

    wsd is arXiv:2405.18392's constant rate with a decay of 1 - sqrt(progress) at the end.
    """
    s = schedule
    if step < s.warmup_steps:
        return (step + 1) / s.warmup_steps
    if s.kind == "cosine":
        progress = (step - s.warmup_steps) / max(1, s.steps - s.warmup_steps)
        return s.final + (1 - s.final) * 0.5 * (1 + math.cos(math.pi * progress))
    left = s.steps - step
    if left > s.decay_steps:
        return 1.0
    return s.final + (1 - s.final) * (1 - math.sqrt(1 - left / s.decay_steps))
