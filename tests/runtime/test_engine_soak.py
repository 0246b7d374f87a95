"""An engine that several threads use at once: they ask, wait, branch off, cancel and abandon as chance has it, with drafts and shared
prefixes in a pool that is too small for all. What a sequence has said is what it says alone, and in the end no page is held.
"""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from llmos.runtime import Engine, NativeExecutor, Request, SamplingParameters
from llmos.runtime.drafting import drafter_of
from llmos.runtime.sequence import Sequence
from tests.tiny_programs import CONFIGS, random_program

pytestmark = pytest.mark.toolchain
IDS = np.random.default_rng(6).integers(0, 120, 90).tolist()
PROMPTS = [IDS[:70], IDS[:64] + IDS[80:], IDS[40:50], IDS[:33] * 2, [7, 8, 9] * 12, IDS[:1]]
N_PAGES, N_USERS, LONGEST = 14, 3, 150
FORMATS = {
    "llama": ("bf16", "bf16"),
    "fused": ("int4", "int8"),
    "windows": ("int8", "int8"),
    "experts": ("float32", "float32"),
}


class User:
    """A thread's part. seen: all that it asked for; did: how often it did what."""

    def __init__(self, engine: Engine, seed: int):
        self.engine, self.random = engine, random.Random(seed)
        self.live: list[Sequence] = []
        self.seen: list[Sequence] = []
        self.did: Counter[str] = Counter()

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            action = self.random.choice(
                (self.ask, self.ask, self.branch, self.hear, self.hear, self.cancel, self.abandon)
            )
            if action == self.ask or self.live:
                action()
                self.did[action.__name__] += 1
            if len(self.live) > 4:
                self.engine.wait(self.live.pop(0))
        for sequence in self.live:
            self.engine.wait(sequence)

    def ask(self) -> None:
        self._submit(self.random.choice(PROMPTS))

    def branch(self) -> None:
        """Goes on from what one has said so far, in other words: its full pages are shared."""
        sequence = self.random.choice(self.live)
        self.engine.wait(sequence, self.random.randrange(20))
        said = list(sequence.ids)
        self._submit([*said[: LONGEST - 2], self.random.randrange(120)])

    def hear(self) -> None:
        self.engine.wait(self.random.choice(self.live), self.random.randrange(30))

    def cancel(self) -> None:
        self.engine.cancel(self._taken())
        self.engine.check()

    def abandon(self) -> None:
        self._taken().abandon()

    def _taken(self) -> Sequence:
        return self.live.pop(self.random.randrange(len(self.live)))

    def _submit(self, ids: list[int]) -> None:
        sampling = SamplingParameters(
            temperature=self.random.choice((0.0, 0.9)),
            top_k=self.random.choice((0, 5, 40)),
            repetition_penalty=self.random.choice((1.0, 1.0, 1.0, 1.2)),
            seed=self.random.randrange(5),
        )
        request = Request(
            ids=tuple(ids),
            max_tokens=self.random.randint(1, 40),
            sampling=sampling,
            stop_ids=self.random.choice(((), (3, 40, 77))),
            logprobs=self.random.random() < 0.2,
            score=self.random.random() < 0.1,
            priority=self.random.randrange(2),
        )
        self.live.append(self.engine.submit(request))
        self.seen.append(self.live[-1])


def said(sequence: Sequence) -> tuple:
    """What a caller got, with the bits of every number."""
    scores = [np.nan if score is None else score for score in sequence.scores]
    return sequence.generated, np.array(sequence.logprobs).tobytes(), np.array(scores, np.float64).tobytes()


def alone(executor: NativeExecutor, sequences: list[Sequence]) -> Iterator[tuple]:
    """What each would have said with the machine to itself; those that were cut short, as far as they came."""
    engine = Engine(executor, share_prefixes=False)
    for sequence in sequences:
        again = engine.submit(sequence.request)
        engine.wait(again)
        if sequence.finish_reason == "cancelled":
            del again.ids[len(sequence.ids) :]
            del again.logprobs[len(sequence.logprobs) :], again.scores[len(sequence.scores) :]
        yield said(again)


def soak(model: str, seed: int, rounds: int) -> Counter[str]:
    """What was done how often, all of it right."""
    print(f"model {model}, seed {seed}")
    program = random_program(*FORMATS[model], model=model)
    busy, calm = (NativeExecutor(program, threads=n, n_pages=N_PAGES) for n in (2, 1))
    engine = Engine(busy, chunk_tokens=24, drafter=drafter_of(4))
    users = [User(engine, seed * N_USERS + i) for i in range(N_USERS)]
    with ThreadPoolExecutor(N_USERS) as threads:
        for done in [threads.submit(user.run, rounds) for user in users]:
            done.result()
    assert not engine.processes()
    engine.check()
    assert engine.pool.n_available == N_PAGES
    sequences = [sequence for user in users for sequence in user.seen]
    for sequence, expected in zip(sequences, alone(calm, sequences), strict=True):
        assert said(sequence) == expected, f"seed {seed}: {sequence.request}"
    busy.close()
    calm.close()
    drafts = {"drafted": engine.drafter.drafted, "accepted": engine.drafter.accepted}
    shared = {"shared": sum(sequence.n_cached > 0 for sequence in sequences)}
    return sum((user.did for user in users), Counter(drafts | shared))


def test_a_short_soak_of_several_threads_says_what_each_would_alone():
    assert min(soak("fused", 1, 700).values()) > 30


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("model", CONFIGS)
def test_a_soak_of_several_threads_says_what_each_would_alone(model, seed):
    assert min(soak(model, seed, 2000).values()) > 100
