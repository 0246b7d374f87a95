"""A generation as a process: what was asked, what has come of it, where it stands."""

import itertools
import math
import time
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from llmos.runtime.executor import SamplingParameters
from llmos.runtime.lookup import Lookup

__all__ = ["FinishReason", "HiddenRows", "Process", "Request", "Sequence"]

FinishReason = Literal["stop", "length", "cancelled", "error"]
HiddenRows = Literal["all", "first", "last"]

_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Request:
    """ids: the prompt. score: give the log-probability of every id and generate nothing. hidden: give the hidden rows of all
    ids, of the first or of the last, and generate nothing. priority: smaller runs first.

    min_tokens: no stop id is drawn before there are so many. source: what the encoder of a model that has one reads; ids then
    begin the answer.
    """

    ids: tuple[int, ...]
    source: tuple[int, ...] = ()
    max_tokens: int = 128
    min_tokens: int = 0
    sampling: SamplingParameters = SamplingParameters()
    stop_ids: tuple[int, ...] = ()
    n_top: int = 0
    logprobs: bool = False
    score: bool = False
    hidden: HiddenRows | None = None
    priority: int = 0
    owner: str = ""

    @property
    def generates(self) -> bool:
        return not self.score and self.hidden is None

    def sampling_after(self, n_generated: int, vocab: int) -> SamplingParameters:
        """How the token after `n_generated` ones is drawn."""
        if n_generated >= self.min_tokens or not self.stop_ids:
            return self.sampling
        barred = {id: -math.inf for id in self.stop_ids if 0 <= id < vocab}
        return replace(self.sampling, logit_bias=tuple(sorted((dict(self.sampling.logit_bias) | barred).items())))


@dataclass(frozen=True, kw_only=True)
class Process:
    """One line of a process listing."""

    id: int
    owner: str
    state: str
    priority: int
    n_prompt: int
    n_generated: int
    n_pages: int
    age_s: float


@dataclass(eq=False)
class Sequence:
    """A request in the engine. ids: prompt and continuation; n_computed: how many have their keys and values stored.

    source_pages: what the encoder stores of the source; encoded: it has. lookup: guesses what follows; n_drafted, n_accepted: of its
    guesses.

    abandoned: nobody waits for it any more. Setting it takes no lock, so a finalizer may, wherever it runs; the engine ends the
    sequence at its next call. Whoever can wait calls `Engine.cancel`.
    """

    request: Request
    id: int = field(default_factory=lambda: next(_numbers))
    state: Literal["waiting", "running", "finished"] = "waiting"
    finish_reason: FinishReason | None = None
    error: Exception | None = None
    ids: list[int] = field(default_factory=list)
    n_computed: int = 0
    n_cached: int = 0
    pages: list[int] = field(default_factory=list)
    source_pages: list[int] = field(default_factory=list)
    encoded: bool = False
    logprobs: list[float] = field(default_factory=list)
    top: list[list[tuple[int, float]]] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    hidden: list[np.ndarray] = field(default_factory=list)
    n_drafted: int = 0
    n_accepted: int = 0
    abandoned: bool = False
    started_s: float = field(default_factory=time.monotonic)

    def __post_init__(self):
        self.ids = list(self.request.ids)
        self.lookup = Lookup(self.ids)
        if self.request.score:
            self.scores = [None]

    @property
    def n_prompt(self) -> int:
        return len(self.request.ids)

    @property
    def generated(self) -> list[int]:
        return self.ids[self.n_prompt :]

    @property
    def n_pending(self) -> int:
        """Tokens to be computed before the next one can be drawn."""
        return len(self.ids) - self.n_computed

    @property
    def standing(self) -> tuple[int, int]:
        """Smaller is more important: by priority, then by age."""
        return self.request.priority, self.id

    @property
    def decodes(self) -> bool:
        """Whether it is past its prompt and takes one token a step."""
        return self.n_computed > 0 and self.n_pending == 1

    @property
    def held(self) -> list[int]:
        """All pages that it holds."""
        return [*self.source_pages, *self.pages]

    def n_outputs(self, n: int) -> int:
        """Output rows that computing its next n tokens takes."""
        if self.request.score:
            return min(n, self.n_pending - 1)
        if self.request.hidden == "all":
            return n
        if self.request.hidden == "first":
            return int(self.n_computed == 0)
        return int(n == self.n_pending)

    def forget(self) -> None:
        """Back to the beginning, holding no pages: everything is computed again, and drawn ids stay."""
        self.pages, self.n_computed, self.state, self.hidden = [], 0, "waiting", []
        self.source_pages, self.encoded = [], False
        if self.request.score:
            self.scores = [None]

    def abandon(self) -> None:
        """To be ended by the engine's next call. For finalizers; does nothing to one that has finished."""
        self.abandoned = True

    def describe(self) -> Process:
        return Process(
            id=self.id,
            owner=self.request.owner,
            state=self.state,
            priority=self.request.priority,
            n_prompt=self.n_prompt if not self.request.source else len(self.request.source),
            n_generated=len(self.ids) - self.n_prompt,
            n_pages=len(self.held),
            age_s=time.monotonic() - self.started_s,
        )
