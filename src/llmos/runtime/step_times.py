"""How long a step takes by its number of rows, as measured: what more rows cost beside fewer.

Times are followed, not averaged: an estimate moves by a fiftieth towards each step, so that a disturbed one counts no more than
any other. Row counts that were not met yet lie on lines between those that were, and beyond them on a hopeful one, which a few
steps correct.
"""

__all__ = ["StepTimes"]

_MORE = 0.15  # of the time of the fewest rows, for each row more: the hope before anything is known
_TRUSTED = (
    3  # steps after which an estimate is believed; the quickest of them begins it (memory is touched, cores wake up)
)
_DOUBTED = 512  # steps after which every estimate is to be shown again by one
_FOLLOW = 1.02


class StepTimes:
    """Estimates in seconds of steps by rows."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._seen: dict[int, int] = {}
        self._left = _DOUBTED  # steps until the next doubt

    def note(self, rows: int, seconds: float) -> None:
        """Take in a step that was measured."""
        seen = self._seen.get(rows, 0)
        if seen >= _TRUSTED:
            self._seconds[rows] *= _FOLLOW if seconds > self._seconds[rows] else 1 / _FOLLOW
        else:
            self._seconds[rows] = min(self._seconds.get(rows, seconds), seconds)
            self._seen[rows] = seen + 1
        self._left -= 1
        if self._left == 0:
            self._left = _DOUBTED
            self._seen = {rows: min(seen, _TRUSTED - 1) for rows, seen in self._seen.items()}

    def known(self, rows: int) -> bool:
        return rows in self._seconds

    def seconds(self, rows: int) -> float:
        """Estimate for a number of rows. At least one must have been noted."""
        if self._seen.get(rows, 0) >= _TRUSTED:
            return self._seconds[rows]
        below = max((r for r in self._seconds if r < rows), default=None)
        above = min((r for r in self._seconds if r > rows), default=None)
        expected = self._between(rows, below, above)
        return min(expected, self._seconds.get(rows, expected))

    def _between(self, rows: int, below: int | None, above: int | None) -> float:
        if below is None:
            fewest = min(self._seconds)
            return self._seconds[fewest]
        first = self._seconds[below]
        if above is None:
            return first + (rows - below) * _MORE * self._seconds[min(self._seconds)]
        return first + (rows - below) / (above - below) * (self._seconds[above] - first)
