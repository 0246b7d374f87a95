"""Sides take turns, pair after pair, so that a disturbance meets both; medians of the turns, and whether they may be believed."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from typing import Any

__all__ = ["WITHIN", "summary", "take_turns"]

WITHIN = 0.15  # of the median: rows whose turns spread more are void


def take_turns(sides: Mapping[str, Callable[[], dict[str, Any]]], turns: int) -> dict[str, list[dict[str, Any]]]:
    """The reports of every side, in order. Each turn begins with another side."""
    names = list(sides)
    reports: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for turn in range(turns):
        at = turn % len(names)
        for name in names[at:] + names[:at]:
            if not any("failed" in report for report in reports[name]):
                reports[name].append(sides[name]())
    return reports


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, ends, and spread: the distance of the quartiles over the median."""
    middle = median(values)
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else (middle,) * 3
    spread = (high - low) / middle
    return {"median": middle, "min": min(values), "max": max(values), "spread": spread, "turns": len(values)}
