"""Drafts: ids guessed to follow, computed in the step of the id before them and kept only where they are what is drawn anyway.

Every row of a step is drawn as it would be alone (rule 3: random numbers depend on seed and position only), so a draft costs time
and never a byte. How many are made is therefore a question of time alone. By default they are made only where the measured
time of a step with more rows is less than what the expected ids are worth; a sequence whose own ids foretell nothing costs an
index entry per id.
"""

from collections.abc import Sequence as Several
from typing import Any, Literal

from llmos.core.errors import UserError
from llmos.runtime.abi import PAGE_TOKENS
from llmos.runtime.executor import Batch, Executor
from llmos.runtime.pages import PagePool
from llmos.runtime.scheduler import Share
from llmos.runtime.sequence import Sequence
from llmos.runtime.step_times import StepTimes

__all__ = ["MOST_DRAFTS", "Drafter", "Speculation", "drafter_of"]

Speculation = Literal["auto", "off"] | int

MOST_DRAFTS = 7  # of a sequence in a step; with the id before them they fill a tile of the kernels
_MOST_ROWS = 16  # of a step with drafts: beyond, it is bound by arithmetic and another row costs what it brings
_WORTH = 1.05  # ids in a time with drafts over those without, from which on they are made


def drafter_of(speculation: Speculation) -> "Drafter | None":
    """What makes drafts as a setting says: "auto" where they pay, a number of them wherever ids repeat, "off" none."""
    if speculation == "off":
        return None
    if speculation == "auto":
        return Drafter()
    whole = isinstance(speculation, int) and not isinstance(speculation, bool)
    if not whole or not 1 <= speculation < _MOST_ROWS:
        raise UserError(
            f"speculation is {speculation!r}; allowed: 'auto', 'off', or 1 to {_MOST_ROWS - 1} ids at a time"
        )
    return Drafter(speculation, measured=False)


class Drafter:
    """Adds drafts to the shares of a step. most: for one sequence. measured: only where they pay, else wherever ids repeat.

    drafted, accepted: counts since the beginning.
    """

    def __init__(self, most: int = MOST_DRAFTS, *, measured: bool = True):
        self.most, self.drafted, self.accepted = most, 0, 0
        self._times = StepTimes() if measured else None

    def extend(self, shares: list[Share], executor: Executor, pool: PagePool) -> list[Share]:
        """The shares with drafts. Takes pages for them that nobody holds."""
        rows, guesses = 0, {}
        for i, (sequence, n, _) in enumerate(shares):
            rows += n
            if n == 1 and sequence.decodes and sequence.request.generates:
                guess = self.guess(sequence)
                if guess:
                    guesses[i] = guess
        if not guesses or rows >= _MOST_ROWS:
            return shares
        return self._with_drafts(shares, guesses, rows, executor, pool)

    def guess(self, sequence: Sequence) -> list[int]:
        """Ids that should follow, at most as many as are drafted for one sequence."""
        sequence.lookup.follow()
        return sequence.lookup.guess(self.most)

    def note(self, batch: Batch, seconds: float) -> None:
        """Take in how long a step took, from its plan on. One that reads a prompt says nothing of those that only speak."""
        if self._times is not None and len(batch.outputs) == len(batch.token_ids) <= _MOST_ROWS:
            self._times.note(len(batch.token_ids), seconds)

    def count(self, sequence: Sequence, drafted: int, accepted: int) -> None:
        """Take in what became of the drafts of a sequence."""
        sequence.n_drafted, sequence.n_accepted = sequence.n_drafted + drafted, sequence.n_accepted + accepted
        self.drafted, self.accepted = self.drafted + drafted, self.accepted + accepted

    def describe(self) -> dict[str, Any]:
        """The setting, and what came of it so far."""
        setting = self.most if self._times is None else "auto"
        return {"setting": setting, "drafted": self.drafted, "accepted": self.accepted}

    def _with_drafts(
        self, shares: list[Share], guesses: dict[int, list[int]], rows: int, executor: Executor, pool: PagePool
    ) -> list[Share]:
        room = min(executor.max_tokens - rows, executor.max_outputs - sum(share.n_outputs for share in shares))
        guessed = {
            i: (shares[i].sequence, min(len(ids), _left(shares[i].sequence, executor.context)))
            for i, ids in guesses.items()
        }
        out = list(shares)
        for i, n in self._counts(guessed, rows, max(0, room)).items():
            drafts = guesses[i][: _with_pages(out[i].sequence, n, pool)]
            out[i] = out[i]._replace(drafts=tuple(drafts))
        return out

    def _counts(self, guessed: dict[int, tuple[Sequence, int]], rows: int, room: int) -> dict[int, int]:
        """How many of the guessed ids of each sequence become drafts: those likeliest to be right, as many as pay."""
        chances = [(chance, i) for i, (s, n) in guessed.items() for chance in s.lookup.chances(n)]
        chances = sorted(chances, key=lambda pair: -pair[0])[: min(room, _MOST_ROWS - rows)]
        counts = dict.fromkeys(guessed, 0)
        for _, i in chances[: self._paying(rows, [chance for chance, _ in chances])]:
            counts[i] += 1
        return counts

    def _paying(self, rows: int, chances: Several[float]) -> int:
        """How many more rows, each with its chance to give an id, bring most ids in a time; 0 where none brings enough."""
        if self._times is None:
            return len(chances)
        if not self._times.known(rows):
            return 0
        best, most, expected = 0, _WORTH * rows / self._times.seconds(rows), float(rows)
        for n, chance in enumerate(chances, 1):
            expected += chance
            rate = expected / self._times.seconds(rows + n)
            if rate > most:
                best, most = n, rate
        return best


def _left(sequence: Sequence, context: int) -> int:
    """Ids that may follow behind the next one."""
    request = sequence.request
    return min(request.max_tokens - (len(sequence.ids) - sequence.n_prompt), context - len(sequence.ids)) - 1


def _with_pages(sequence: Sequence, n: int, pool: PagePool) -> int:
    """For how many of n drafts there are pages: those of the sequence, and more that are free."""
    while len(sequence.pages) * PAGE_TOKENS < len(sequence.ids) + n:
        page = pool.allocate()
        if page is None:
            return max(0, len(sequence.pages) * PAGE_TOKENS - len(sequence.ids))
        sequence.pages.append(page)
    return n
