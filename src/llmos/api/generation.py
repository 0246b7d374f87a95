"""One generation: iterate it for its text, ask it afterwards for everything else."""

import time
import weakref
from collections.abc import Iterator
from typing import Any

from llmos.runtime import Engine, Request
from llmos.text import Decoder, StopMatcher, Tokenizer

__all__ = ["Generation"]


class Generation:
    """A running or finished generation. Each step of the iteration gives text that is certain; iterating again goes on from there.

    One that is left early holds its memory until it is cancelled, or until nobody holds it. text, tokens, finish_reason ("stop",
    "length", "cancelled"), seed, prompt_tokens, dropped_tokens, logprobs, top_logprobs, timings and
    speculation say what came of it.
    """

    def __init__(self, engine: Engine, request: Request, tokenizer: Tokenizer, stops: StopMatcher, dropped_tokens: int):
        self._engine, self._request, self._stops = engine, request, stops
        self._started_s = time.perf_counter()
        self._first_s: float | None = None
        self._ended_s: float | None = None
        self._decoder = Decoder(
            tokenizer, [] if request.source else list(request.ids)
        )  # an answer is a text of its own
        self._pieces: list[str] = []
        self._n_taken = 0
        self._stopped = self._given = False
        self.dropped_tokens = dropped_tokens
        self._sequence = engine.submit(request)
        # The garbage collector may come in the middle of a step, where the engine's lock is held: so `abandon`, not `cancel`.
        weakref.finalize(self, self._sequence.abandon).atexit = False

    def __repr__(self) -> str:
        return f"<Generation: {len(self.tokens)} tokens, {self.finish_reason or 'running'}>"

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            while not self._given:
                text = self._advance()
                if text:
                    return text
        except BaseException:  # an interrupt too must leave nothing running
            self._given = True
            self.cancel()
            raise
        raise StopIteration

    def _advance(self) -> str:
        """Wait for a token and take all that there are; what of their text is certain."""
        self._engine.wait(self._sequence, self._n_taken + 1)
        last = self._sequence.state == "finished"  # read before the ids: another thread may add the last one now
        new = self._sequence.generated[self._n_taken :]
        if new:
            self._first_s = self._first_s or time.perf_counter()
        text = "".join(self._taken(new))
        if last and not self._stopped:
            more, self._stopped = self._stops.push(self._decoder.finish())
            text += more if self._stopped else more + self._stops.finish()
        if text:
            self._pieces.append(text)
        if last or self._stopped:
            self._given = True
            self.cancel()
        return text

    def _taken(self, ids: list[int]) -> Iterator[str]:
        """Text of ids, one by one, up to a stop string: where that ends must not depend on how many came at a time."""
        for id in ids:
            self._n_taken += 1
            if id not in self._request.stop_ids:
                text, self._stopped = self._stops.push(self._decoder.push(id))
                yield text
            if self._stopped:
                return

    def cancel(self) -> None:
        """Stop it and free what it holds. Does nothing to one that has finished."""
        self._engine.cancel(self._sequence)
        self._ended_s = self._ended_s or time.perf_counter()

    @property
    def text(self) -> str:
        """The text given out so far."""
        return "".join(self._pieces)

    @property
    def tokens(self) -> list[int]:
        """Generated ids; a stop string may end in the middle of the last one."""
        return self._sequence.generated[: self._n_told]

    @property
    def finish_reason(self) -> str | None:
        return "stop" if self._stopped else self._sequence.finish_reason

    @property
    def seed(self) -> int:
        return self._request.sampling.seed

    @property
    def prompt_tokens(self) -> int:
        return len(self._request.source or self._request.ids)

    @property
    def logprobs(self) -> list[float]:
        """Log-probability of each generated id in the model's own distribution, where asked for."""
        return self._sequence.logprobs[: self._n_told]

    @property
    def top_logprobs(self) -> list[list[tuple[int, float]]]:
        return self._sequence.top[: self._n_told]

    @property
    def _n_told(self) -> int | None:
        """Ids that belong to it: those behind a stop string, which may have come along with it, do not."""
        return self._n_taken if self._stopped else None

    @property
    def speculation(self) -> dict[str, int]:
        """How many ids were drafted, computed before it was known whether they would be drawn, and how many of them were."""
        return {"drafted": self._sequence.n_drafted, "accepted": self._sequence.n_accepted}

    @property
    def timings(self) -> dict[str, Any]:
        """Seconds to the first token and in all, and tokens per second after the first."""
        end = self._ended_s or time.perf_counter()
        first = (self._first_s or end) - self._started_s
        after = end - self._started_s - first
        rate = (len(self.tokens) - 1) / after if len(self.tokens) > 1 and after > 0 else None
        return {"first_token_s": first, "total_s": end - self._started_s, "decode_tokens_per_s": rate}
