"""Which sequences compute how many tokens in a step, each with pages for all of them.

Two things are scarce and are given out by different rules. *Room* in the step (tokens, output rows) goes to those that decode
first, so that a long prompt does not stall those who are talking; prompts and texts to be scored fill what is left, and the
foremost of them goes first of all after it has been passed over `PATIENCE` times. *Pages* go by standing (priority, then
age): one that lacks a page takes those of the lowest standing below it, whatever that one is doing. Who loses its pages, or is
refused one, sits this step out with everyone below, so that nobody holds pages while one of higher standing was refused.
The highest standing is never refused: there is always progress.

Where tokens depend on later ones (an encoder) a sequence has room for all of its tokens or for none, and no prefix is known.
"""

from collections.abc import Iterable
from typing import NamedTuple

from llmos.core.errors import ResourceError
from llmos.runtime.abi import PAGE_TOKENS
from llmos.runtime.executor import Executor
from llmos.runtime.pages import PagePool
from llmos.runtime.sequence import Sequence

__all__ = ["PATIENCE", "Scheduler", "Share"]

PATIENCE = 8


class Share(NamedTuple):
    """What a sequence computes in a step: its next n tokens, and behind them ids that are guessed (`runtime.drafting`)."""

    sequence: Sequence
    n: int
    drafts: tuple[int, ...] = ()

    @property
    def n_outputs(self) -> int:
        return self.sequence.n_outputs(self.n) + len(self.drafts)


class Scheduler:
    """Plans steps for an executor over a pool of pages. chunk_tokens: most tokens of one sequence in a step."""

    def __init__(self, executor: Executor, pool: PagePool, chunk_tokens: int):
        self.executor, self.pool, self.chunk_tokens = executor, pool, chunk_tokens
        self._passed_over = 0  # steps in a row that went by without the foremost prompt

    def plan(self, active: list[Sequence]) -> list[Share]:
        """The shares of the next step, of unfinished sequences in order of standing.

        Gives pages to sequences and takes them away. One that can never go on gets its `error` set.
        """
        able = active
        foremost = next((s for s in active if not s.decodes), None)
        while True:
            shares = self._shares(able, foremost)
            loser = self._give_pages(shares, active)
            if loser is None:
                break
            able = [s for s in able if s.standing < loser.standing]
        waits = foremost is not None and all(share.sequence is not foremost for share in shares)
        self._passed_over = self._passed_over + 1 if waits else 0
        return shares

    def _shares(self, able: list[Sequence], foremost: Sequence | None) -> list[Share]:
        tokens, outputs = self.executor.max_tokens, self.executor.max_outputs
        shares: list[Share] = []
        for sequence in self._order(able, foremost):
            n = self._room(sequence, tokens, outputs) if tokens > 0 else 0
            if n > 0:
                shares.append(Share(sequence, n))
                tokens, outputs = tokens - n, outputs - sequence.n_outputs(n)
        return shares

    def _order(self, able: list[Sequence], foremost: Sequence | None) -> list[Sequence]:
        """In which room is given."""
        overdue = foremost if self._passed_over >= PATIENCE else None
        return sorted(able, key=lambda s: (s is not overdue, not s.decodes, s.standing))

    def _room(self, sequence: Sequence, tokens: int, outputs: int) -> int:
        """How much of the room that is left the sequence can use. One without pages looks for a known prefix first."""
        if sequence.n_computed == 0 and not sequence.pages and sequence.request.generates:
            sequence.pages = self.pool.match(sequence.ids)
            sequence.n_computed = sequence.n_cached = len(sequence.pages) * PAGE_TOKENS
        if self.executor.whole:
            n = sequence.n_pending
            return n if n <= tokens and sequence.n_outputs(n) <= outputs else 0
        n = min(sequence.n_pending, self.chunk_tokens, tokens)
        if sequence.request.score or sequence.request.hidden == "all":
            return min(n, outputs)
        if sequence.n_outputs(n) <= outputs:
            return n
        return 0 if sequence.request.hidden == "first" else min(n, sequence.n_pending - 1)

    def _give_pages(self, shares: Iterable[Share], active: list[Sequence]) -> Sequence | None:
        """Pages for every share, in order of standing, up to the first loss. Returns the highest that lost, None if none did."""
        for sequence, n, _ in sorted(shares, key=lambda share: share.sequence.standing):
            loser = self._fill(sequence, sequence.n_computed + n, active)
            if loser is not None:
                return loser
        return None

    def _fill(self, sequence: Sequence, n_tokens: int, active: list[Sequence]) -> Sequence | None:
        """Pages for the source and the first n_tokens of a sequence. Returns the last that lost its own to it, or itself where
        it was refused.
        """
        loser = None
        for pages, n in ((sequence.source_pages, len(sequence.request.source)), (sequence.pages, n_tokens)):
            while len(pages) * PAGE_TOKENS < n:
                page = self.pool.allocate()
                if page is not None:
                    pages.append(page)
                    continue
                others = [s for s in active if s.held and s is not sequence]
                if not others:
                    sequence.error = self._too_long()
                    return sequence
                if others[-1].standing < sequence.standing:
                    return sequence  # it keeps what it has: whoever stands higher can still take that
                loser = others[-1]
                self.pool.release(loser.held)
                loser.forget()
        return loser

    def _too_long(self) -> ResourceError:
        n_pages = self.pool.n_pages
        return ResourceError(
            f"all {n_pages} KV pages ({n_pages * PAGE_TOKENS} tokens) are used by this sequence alone: "
            f"load with a larger context"
        )
