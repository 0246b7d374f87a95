"""Continuous batching over paged memory: what is asked for, what has come of it, and one step after another.

Who computes what in a step is the scheduler's affair. A sequence that loses its pages is computed again later: by rule 3
(deterministic by construction) it continues with the same bytes. Several threads may wait for sequences at once; whoever
waits drives the steps, and all sequences advance in each.

An interrupt may come between any two instructions. Changes are therefore made between two marks; whoever finds a change begun
and not ended forgets all keys and values and has them computed again, which rule 3 makes safe. What a sequence has said is
never taken back: an id is appended after everything that belongs to it, and a sequence is marked as finished before its pages
are freed.
"""

import os
import threading
import time
from collections.abc import Callable

import numpy as np

from llmos.core.errors import LlmosError, ResourceError, UserError
from llmos.core.log import get_logger
from llmos.runtime.abi import PAGE_TOKENS
from llmos.runtime.batching import batch_of
from llmos.runtime.drafting import Drafter
from llmos.runtime.executor import Batch, Executor, Result
from llmos.runtime.lookup import Lookup
from llmos.runtime.pages import PagePool
from llmos.runtime.scheduler import Scheduler, Share
from llmos.runtime.sequence import FinishReason, Process, Request, Sequence

__all__ = ["Engine"]


class Engine:
    """Runs sequences on an executor. chunk_tokens: most tokens of one sequence in a step; share_prefixes: reuse pages.

    Both are of no consequence where a sequence must be computed as a whole. Nor are pages reused where keys and values depend on
    a source too, which the index of prefixes does not know. drafter: guesses what follows; None: nothing is guessed.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        chunk_tokens: int | None = None,
        share_prefixes: bool = True,
        drafter: Drafter | None = None,
    ):
        self.executor, self.drafter = executor, drafter
        self.chunk_tokens = min(chunk_tokens or executor.max_tokens, executor.max_tokens)
        self.share_prefixes = share_prefixes and not (executor.whole or executor.reads_sources)
        self._active: list[Sequence] = []  # in order of standing
        self._locks: dict[int, threading.Lock] = {}
        self._changing = False
        self._empty_pool()

    def submit(self, request: Request) -> Sequence:
        """Queue a request. Raises UserError for ids that the model does not have or a prompt that cannot fit."""
        self._check(request)
        sequence = Sequence(request)
        try:
            with self._lock():
                self._admit(sequence)
        except BaseException:  # the caller gets no sequence that could be cancelled
            self.cancel(sequence)
            raise
        return sequence

    def step(self) -> bool:
        """Advance every sequence that fits into one step. False when there was nothing to do.

        Where the executor fails, the sequences of that step end with its error, and the next step goes on without them.
        """
        with self._lock():
            return self._step()

    def wait(self, sequence: Sequence, n_generated: int | None = None) -> None:
        """Drive steps until the sequence is finished or has `n_generated` ids. Raises its error."""
        while not self._arrived(sequence, n_generated):
            with self._lock():
                if not self._arrived(sequence, n_generated):
                    self._step()
        if sequence.error is not None:
            raise sequence.error

    def cancel(self, sequence: Sequence) -> None:
        """Stop a sequence and free its pages. Does nothing to one that has finished."""
        with self._lock():
            self._begin()
            if sequence.state != "finished":
                self._finish(sequence, "cancelled")
            self._end()

    def close(self) -> None:
        """Cancel what runs and close the executor, between two steps."""
        with self._lock():
            self._begin()
            for sequence in self._active:
                self._finish(sequence, "cancelled")
            self._end()
            self.executor.close()

    def processes(self) -> list[Process]:
        """The sequences that are not finished."""
        with self._lock():
            self._begin()
            self._end()
            return [sequence.describe() for sequence in self._active]

    def check(self) -> None:
        """Assert that no page is lost or shared by mistake."""
        with self._lock():
            self._begin()
            self._end()
            self.pool.check([sequence.held for sequence in self._active])

    def _lock(self) -> threading.Lock:
        """The lock of this process. After a fork nobody in the child gives back what a thread of the parent holds.

        What that thread was in the midst of is put in order as after an interrupt.
        """
        return self._locks.setdefault(os.getpid(), threading.Lock())

    @staticmethod
    def _arrived(sequence: Sequence, n_generated: int | None) -> bool:
        enough = n_generated is not None and len(sequence.ids) - sequence.n_prompt >= n_generated
        return sequence.state == "finished" or enough

    def _check(self, request: Request) -> None:
        if not request.ids:
            raise UserError("the prompt is empty and the model has no beginning-of-text token: give at least one token")
        vocab, context = self.executor.vocab, self.executor.context
        for id in (*request.source, *request.ids):
            if not 0 <= id < vocab:
                raise UserError(f"token id {id} is outside the vocabulary of {vocab} (0 to {vocab - 1})")
        for what, ids in (("source", request.source), ("prompt", request.ids)):
            if len(ids) > context:
                raise UserError(f"the {what} has {len(ids)} tokens, the context holds {context}")
        self._check_source(len(request.source))
        most = min(self.executor.max_tokens, self.executor.max_outputs if request.hidden == "all" else context)
        if self.executor.whole and len(request.ids) > most:
            raise UserError(f"the text has {len(request.ids)} tokens and must be computed at once, a step holds {most}")
        needed = sum(-(-len(ids) // PAGE_TOKENS) for ids in (request.source, request.ids))
        if needed > self.pool.n_pages:
            raise ResourceError(
                f"the prompt of {len(request.ids)} tokens needs {needed} KV pages, the pool has {self.pool.n_pages}: "
                f"shorten it to {self.pool.n_pages * PAGE_TOKENS} tokens or load the model with more pages"
            )

    def _check_source(self, n: int) -> None:
        if bool(n) != self.executor.reads_sources:
            raise UserError(
                f"the model has {'no encoder, which would read a source' if n else 'an encoder: give a source'}"
            )
        if n > self.executor.max_tokens:
            most = self.executor.max_tokens
            raise UserError(f"the source has {n} tokens and must be read at once, a step holds {most}")

    def _admit(self, sequence: Sequence) -> None:
        self._begin()
        if sequence.request.max_tokens == 0 and sequence.request.generates:
            self._finish(sequence, "length")
        else:
            self._active = sorted([*self._active, sequence], key=lambda s: s.standing)
        self._end()

    def _begin(self) -> None:
        """Mark that a change begins. Puts things in order first where an earlier one did not end.

        Ends what was abandoned since: whoever calls next clears away after those who could not.
        """
        if self._changing:
            self._restore()
        self._changing = True
        for sequence in self._active:
            if sequence.abandoned and sequence.state != "finished":
                self._finish(sequence, "cancelled")

    def _end(self) -> None:
        """Mark that a change is complete, and let go of what has finished."""
        if any(s.state == "finished" for s in self._active):
            self._active = [s for s in self._active if s.state != "finished"]
        self._changing = False

    def _restore(self) -> None:
        """From any state between two marks to one in which everything is still to be computed."""
        self._empty_pool()
        for sequence in self._active:
            n = len(sequence.generated)
            del sequence.logprobs[n:], sequence.top[n:]
            if sequence.state == "finished":
                sequence.pages, sequence.source_pages = [], []
            else:
                sequence.forget()
                sequence.lookup = Lookup(sequence.ids)
                self._finish_if_ended(sequence)
        get_logger("runtime").debug("a step was interrupted: %d sequences are computed again", len(self._active))

    def _empty_pool(self) -> None:
        self.pool = PagePool(self.executor.n_pages, share=self.share_prefixes)
        self._scheduler = Scheduler(self.executor, self.pool, self.chunk_tokens)

    def _step(self) -> bool:
        self._begin()
        before, began = len(self._active), time.perf_counter()
        shares = self._scheduler.plan([s for s in self._active if s.state != "finished"])
        for sequence in self._active:
            if sequence.error is not None:
                self._finish(sequence, "error")
        if self.drafter is not None:
            shares = self.drafter.extend(shares, self.executor, self.pool)
        self._end()
        assert shares or not before or len(self._active) < before, f"none of {before} sequences can be computed"
        if shares:
            self._compute(shares, began)
        return before > 0

    def _compute(self, shares: list[Share], began: float) -> None:
        """Run the shares of a step and apply the results. began: on the clock of `perf_counter`. An interrupt before those arrive has changed nothing."""
        try:
            self._encode([s.sequence for s in shares if s.sequence.request.source and not s.sequence.encoded])
            batch = batch_of(shares, self.executor.vocab)
            result = self.executor.step(batch)
        except Exception as error:  # the outer loop of requests: the error belongs to those that were computed
            get_logger("runtime").debug("a step failed", exc_info=True)
            self._begin()
            for share in shares:
                self._fail(share.sequence, error)
            self._end()
            return
        self._begin()
        at = 0
        for share in shares:
            n_outputs = share.n_outputs
            if share.sequence.state != "finished":  # abandoned meanwhile
                self._advance(share, result, range(at, at + n_outputs))
            at += n_outputs
        if self.drafter is not None:
            self.drafter.note(batch, time.perf_counter() - began)
        self._end()

    def _encode(self, sequences: list[Sequence]) -> None:
        """Have the sources of sequences read, as many in a call as it takes."""
        while sequences:
            batch, n = Batch(), 0
            for sequence in sequences:
                source = sequence.request.source
                if batch.token_ids and len(batch.token_ids) + len(source) > self.executor.max_tokens:
                    break
                batch.token_ids += source
                batch.positions += range(len(source))
                batch.sequence += [n] * len(source)
                batch.block_table.append(sequence.source_pages)
                n += 1
            self.executor.encode(batch)
            for sequence in sequences[:n]:
                sequence.encoded = True
            sequences = sequences[n:]

    def _advance(self, share: Share, result: Result, outputs: range) -> None:
        """Take the results of one sequence, whose output rows are given."""
        sequence, n, drafts = share
        first_full = sequence.n_computed // PAGE_TOKENS
        sequence.n_computed, sequence.state = sequence.n_computed + n, "running"
        take = self._taking(sequence.request)
        for i in outputs[: len(outputs) - len(drafts)]:
            if not take(sequence, result, i):
                self._fail(sequence, _none_allowed(sequence) if i in result.none_allowed else _no_numbers(sequence))
                return
        if self.drafter is not None and drafts:
            accepted = self._accept(sequence, drafts, result, outputs[1:])
            self.drafter.count(sequence, len(drafts), accepted)
        self.pool.publish(sequence.ids, sequence.pages[: sequence.n_computed // PAGE_TOKENS], first_full)
        self._finish_if_ended(sequence)

    def _accept(self, sequence: Sequence, drafts: tuple[int, ...], result: Result, outputs: range) -> int:
        """Take what was drawn behind drafts for as long as they are what was drawn. Returns how many were.

        A row that held no numbers is left to a step that asks for it: whoever waits may have what it wanted.
        """
        for accepted, (draft, i) in enumerate(zip(drafts, outputs, strict=True)):
            if sequence.ids[-1] != draft or self._end_of(sequence) is not None:
                return accepted
            if not self._take_token(sequence, result, i):
                return accepted
            sequence.n_computed += 1
        return len(drafts)

    def _taking(self, request: Request) -> Callable[[Sequence, Result, int], bool]:
        if request.hidden is not None:
            return self._take_hidden
        return self._take_score if request.score else self._take_token

    def _take_hidden(self, sequence: Sequence, result: Result, i: int) -> bool:
        """False where the row held no numbers."""
        assert result.hidden is not None, "hidden rows were asked for"
        sequence.hidden.append(result.hidden[i])
        return bool(np.isfinite(result.hidden[i]).all())

    def _take_score(self, sequence: Sequence, result: Result, i: int) -> bool:
        """False where the row held no numbers."""
        assert result.scores is not None, "scores were asked for"
        score = result.scores[i]
        if score is not None:
            sequence.scores.append(score)
        return score is not None

    def _take_token(self, sequence: Sequence, result: Result, i: int) -> bool:
        """False where the row held no numbers."""
        request, id = sequence.request, result.sampled[i]
        if id is None:
            return False
        if request.logprobs and result.logprobs is not None:
            sequence.logprobs.append(result.logprobs[i])
        if request.n_top and result.top is not None:
            sequence.top.append(result.top[i][: request.n_top])
        sequence.ids.append(id)
        return True

    def _finish_if_ended(self, sequence: Sequence) -> None:
        reason = self._end_of(sequence)
        if reason is not None:
            self._finish(sequence, reason)

    def _end_of(self, sequence: Sequence) -> FinishReason | None:
        """Why a sequence ends here, None where it goes on."""
        request, n_generated = sequence.request, len(sequence.ids) - sequence.n_prompt
        if not request.generates:
            return "stop" if sequence.n_pending == 0 else None
        if n_generated > 0 and sequence.ids[-1] in request.stop_ids:
            return "stop"
        full = n_generated >= request.max_tokens or len(sequence.ids) >= self.executor.context
        return "length" if n_generated > 0 and full else None

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        if sequence.state != "finished":
            sequence.error = error
            self._finish(sequence, "error")

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        sequence.finish_reason = reason
        sequence.state = "finished"
        self.pool.release(sequence.held)
        sequence.pages, sequence.source_pages = [], []


def _no_numbers(sequence: Sequence) -> LlmosError:
    request = sequence.request
    position = (
        len(sequence.scores) if request.score else len(sequence.hidden) - 1 if request.hidden else len(sequence.ids)
    )
    return LlmosError(
        f"the model gave no numbers for position {position} (NaN or infinity): its weights may be damaged, or its values "
        f"overflow; check the files it was loaded from, or load it with weights='float32'"
    )


def _none_allowed(sequence: Sequence) -> UserError:
    return UserError(
        f"no token is allowed at position {len(sequence.ids)}: logit_bias bans all that the model knows, or all but the ends "
        f"that min_tokens bars until then; allow at least one"
    )
