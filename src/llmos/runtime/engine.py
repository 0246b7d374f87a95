"""Continuous batching over paged memory: one step takes decode tokens of running sequences and chunks of prompts.

Decoding goes first, so that a long prompt does not stall those who are talking; prompts fill what is left of the step. When
pages run out the youngest sequence of the lowest priority gives its pages back and is computed again later: by rule 3
(deterministic by construction) it continues with the same bytes. Several threads may wait for sequences at once; whoever
waits drives the steps, and all sequences advance in each.
"""

import threading

from llmos.core.errors import ResourceError, UserError
from llmos.runtime.abi import PAGE_TOKENS
from llmos.runtime.executor import Batch, Executor, Output, Result
from llmos.runtime.pages import PagePool
from llmos.runtime.sequence import Process, Request, Sequence

__all__ = ["Engine"]


class Engine:
    """Schedules sequences on an executor. chunk_tokens: most tokens of one sequence in a step; share_prefixes: reuse pages."""

    def __init__(self, executor: Executor, *, chunk_tokens: int | None = None, share_prefixes: bool = True):
        self.executor = executor
        self.chunk_tokens = min(chunk_tokens or executor.max_tokens, executor.max_tokens)
        self.pool = PagePool(executor.n_pages, share=share_prefixes)
        self._active: list[Sequence] = []
        self._lock = threading.Lock()

    def submit(self, request: Request) -> Sequence:
        """Queue a request. Raises UserError for ids that the model does not have or a prompt that cannot fit."""
        self._check(request)
        sequence = Sequence(request)
        with self._lock:
            if request.max_tokens == 0 and not request.score:
                self._finish(sequence, "length")
            else:
                self._active.append(sequence)
                self._active.sort(key=lambda s: (s.request.priority, s.id))
        return sequence

    def step(self) -> bool:
        """Advance every sequence that fits into one step. False when there was nothing to do."""
        with self._lock:
            return self._step()

    def wait(self, sequence: Sequence, n_generated: int | None = None) -> None:
        """Drive steps until the sequence is finished or has `n_generated` ids. Raises its error."""
        while not self._arrived(sequence, n_generated):
            with self._lock:
                if not self._arrived(sequence, n_generated):
                    self._step()
        if sequence.error is not None:
            raise sequence.error

    def cancel(self, sequence: Sequence) -> None:
        """Stop a sequence and free its pages. Does nothing to one that has finished."""
        with self._lock:
            if sequence.state != "finished":
                self._active.remove(sequence)
                self._finish(sequence, "cancelled")

    def close(self) -> None:
        """Cancel what runs and close the executor, between two steps."""
        with self._lock:
            for sequence in list(self._active):
                self._active.remove(sequence)
                self._finish(sequence, "cancelled")
            self.executor.close()

    def processes(self) -> list[Process]:
        """The sequences that are not finished."""
        with self._lock:
            return [sequence.describe() for sequence in self._active]

    def check(self) -> None:
        """Assert that no page is lost or shared by mistake."""
        with self._lock:
            self.pool.check([sequence.pages for sequence in self._active])

    @staticmethod
    def _arrived(sequence: Sequence, n_generated: int | None) -> bool:
        enough = n_generated is not None and len(sequence.ids) - sequence.n_prompt >= n_generated
        return sequence.state == "finished" or enough

    def _check(self, request: Request) -> None:
        if not request.ids:
            raise UserError("the prompt is empty and the model has no beginning-of-text token: give at least one token")
        vocab, context = self.executor.vocab, self.executor.context
        for id in request.ids:
            if not 0 <= id < vocab:
                raise UserError(f"token id {id} is outside the vocabulary of {vocab} (0 to {vocab - 1})")
        if len(request.ids) > context:
            raise UserError(f"the prompt has {len(request.ids)} tokens, the context holds {context}")
        needed = -(-len(request.ids) // PAGE_TOKENS)
        if needed > self.pool.n_pages:
            raise ResourceError(
                f"the prompt of {len(request.ids)} tokens needs {needed} KV pages, the pool has {self.pool.n_pages}: "
                f"shorten it to {self.pool.n_pages * PAGE_TOKENS} tokens or load the model with more pages"
            )

    def _step(self) -> bool:
        batch, plan = Batch(), []
        for sequence in self._order():
            n = self._room(sequence, batch)
            if n > 0 and sequence.state != "finished" and self._give_pages(sequence, n, plan):
                self._add(batch, sequence, n)
                plan.append((sequence, n))
        if not plan:
            assert not any(s.n_pending == 0 for s in self._active), (
                "a sequence has nothing left to compute and is not finished"
            )
            return bool(self._active)
        result = self.executor.step(batch)
        drawn = 0
        for sequence, n in plan:
            drawn = self._advance(sequence, n, result, drawn)
        return True

    def _order(self) -> list[Sequence]:
        """Those that decode first, then prompts, each by priority and age."""
        return sorted(self._active, key=lambda s: (s.n_computed == 0 or s.n_pending > 1, s.request.priority, s.id))

    def _room(self, sequence: Sequence, batch: Batch) -> int:
        """Tokens of the sequence that still fit into the step."""
        if sequence.state == "waiting" and not sequence.pages and not sequence.request.score:
            sequence.pages = self.pool.match(sequence.ids)
            sequence.n_computed = sequence.n_cached = len(sequence.pages) * PAGE_TOKENS
        n = min(sequence.n_pending, self.chunk_tokens, self.executor.max_tokens - len(batch.token_ids))
        outputs_left = self.executor.max_outputs - len(batch.outputs)
        if sequence.request.score:
            return min(n, outputs_left)
        return n if outputs_left > 0 else min(n, sequence.n_pending - 1)

    def _give_pages(self, sequence: Sequence, n: int, plan: list[tuple[Sequence, int]]) -> bool:
        """Pages for n more tokens, taken from others of lower standing if need be. False: not in this step."""
        needed = -(-(sequence.n_computed + n) // PAGE_TOKENS)
        while len(sequence.pages) < needed:
            page = self.pool.allocate()
            if page is not None:
                sequence.pages.append(page)
            elif not self._preempt(sequence, {s.id for s, _ in plan}):
                return False
        return True

    def _preempt(self, sequence: Sequence, planned: set[int]) -> bool:
        """Take the pages of the sequence of lowest standing below this one. With nobody else holding any, it cannot go on."""
        holders = [s for s in self._active if s.pages and s is not sequence]
        victims = [
            s
            for s in holders
            if s.id not in planned and (s.request.priority, s.id) > (sequence.request.priority, sequence.id)
        ]
        if victims:
            self._reset(victims[-1])
            return True
        if not holders:
            n_tokens = self.pool.n_pages * PAGE_TOKENS
            sequence.error = ResourceError(
                f"all {self.pool.n_pages} KV pages ({n_tokens} tokens) are used by this sequence alone: load with a larger context"
            )
            self._active.remove(sequence)
            self._finish(sequence, "error")
        elif sequence.pages:
            self._reset(sequence)  # an older one needs them; come back when it is done
        return False

    def _reset(self, sequence: Sequence) -> None:
        self.pool.release(sequence.pages)
        sequence.pages, sequence.n_computed, sequence.state = [], 0, "waiting"
        if sequence.request.score:
            sequence.scores = [None]

    def _add(self, batch: Batch, sequence: Sequence, n: int) -> None:
        start, request = sequence.n_computed, sequence.request
        first = len(batch.token_ids)
        batch.token_ids += sequence.ids[start : start + n]
        batch.positions += range(start, start + n)
        batch.sequence += [len(batch.block_table)] * n
        batch.block_table.append(sequence.pages)
        if request.score:
            following = sequence.ids[start + 1 : start + n + 1]
            batch.outputs += [Output(row=first + i, score=id) for i, id in enumerate(following)]
        elif start + n == len(sequence.ids):
            position = len(sequence.ids)
            batch.outputs.append(Output(first + n - 1, request.sampling, position, sequence.ids, sequence.n_prompt))
            batch.n_top = max(batch.n_top, request.n_top)
            batch.want_logprobs |= request.logprobs

    def _advance(self, sequence: Sequence, n: int, result: Result, drawn: int) -> int:
        """Take the results of one sequence, whose outputs begin at `drawn`. Returns where the next one's begin."""
        first_full = sequence.n_computed // PAGE_TOKENS
        start, sequence.n_computed, sequence.state = sequence.n_computed, sequence.n_computed + n, "running"
        self.pool.publish(sequence.ids, sequence.pages[: sequence.n_computed // PAGE_TOKENS], first_full)
        if sequence.request.score:
            count = min(n, len(sequence.ids) - start - 1)
            sequence.scores += result.scores[drawn : drawn + count] if count else []
            if sequence.n_pending == 0:
                self._active.remove(sequence)
                self._finish(sequence, "stop")
            return drawn + count
        if sequence.n_pending > 0:
            return drawn
        self._take_token(sequence, result, drawn)
        return drawn + 1

    def _take_token(self, sequence: Sequence, result: Result, i: int) -> None:
        request, id = sequence.request, result.sampled[i]
        sequence.ids.append(id)
        if request.logprobs and result.logprobs is not None:
            sequence.logprobs.append(result.logprobs[i])
        if request.n_top and result.top is not None:
            sequence.top.append(result.top[i][: request.n_top])
        reason = None
        if id in request.stop_ids:
            reason = "stop"
        elif len(sequence.ids) - sequence.n_prompt >= request.max_tokens or len(sequence.ids) >= self.executor.context:
            reason = "length"
        if reason:
            self._active.remove(sequence)
            self._finish(sequence, reason)

    def _finish(self, sequence: Sequence, reason: str) -> None:
        self.pool.release(sequence.pages)
        sequence.pages, sequence.state, sequence.finish_reason = [], "finished", reason
