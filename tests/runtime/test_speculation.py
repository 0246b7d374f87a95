"""Speculation gives the bytes that are given without it, whatever is guessed, and goes away where it does not pay."""

import functools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.core.errors import LlmosError, UserError
from llmos.runtime import Engine, NativeExecutor, Request, SamplingParameters
from llmos.runtime.abi import PAGE_TOKENS
from llmos.runtime.drafting import MOST_DRAFTS, Drafter, drafter_of
from tests.tiny_programs import random_program

pytestmark = pytest.mark.toolchain
IDS = tuple(np.random.default_rng(3).integers(0, 120, 100).tolist())
MODELS = [("llama", "int8", "int8"), ("llama", "float32", "float32"), ("llama", "int4", "int8")]
MODELS += [("windows", "int8", "int8"), ("experts", "int8", "int8"), ("fused", "int8", "int8")]


@functools.cache
def executor(model: str = "llama", weights: str = "int8", kv: str = "int8", **limits) -> NativeExecutor:
    return NativeExecutor(random_program(weights, kv, model=model), **{"threads": 1, "n_pages": 30} | limits)


class Teller(Drafter):
    """Guesses what is known to follow, with a lie in places. truths: request -> all ids in the end."""

    def __init__(self, truths: dict, lies: float, seed: int, most: int = MOST_DRAFTS):
        super().__init__(most, measured=False)
        self.truths, self.lies, self.random = truths, lies, random.Random(seed)

    def guess(self, sequence):
        truth = [*self.truths[sequence.request], *IDS][len(sequence.ids) :][: self.random.randint(0, self.most)]
        return [self.random.randrange(120) if self.random.random() < self.lies else id for id in truth]


def outcome(sequence) -> tuple:
    """What a caller gets, with the bits of every number."""
    scores = [np.nan if score is None else score for score in sequence.scores]
    numbers = [np.array(sequence.logprobs), np.array(scores, np.float64), *sequence.hidden]
    return sequence.generated, sequence.finish_reason, sequence.top, [x.tobytes() for x in numbers]


@functools.cache
def alone(request: Request, *model: str) -> tuple:
    """What comes of a request by itself, without speculation."""
    engine = Engine(executor(*model), share_prefixes=False)
    sequence = engine.submit(request)
    engine.wait(sequence)
    return outcome(sequence)


def ended(engine: Engine, requests: list[Request]) -> list[tuple]:
    """Outcomes of all requests together. What is held is checked after every step."""
    sequences = [engine.submit(request) for request in requests]
    while engine.processes():
        engine.step()
        engine.check()
        assert all(s.state != "finished" or s.error is None for s in sequences)
        assert all(s.n_computed <= len(s.ids) for s in sequences)
    assert engine.pool.n_available == engine.pool.n_pages
    return [outcome(sequence) for sequence in sequences]


samplings = st.builds(
    SamplingParameters,
    temperature=st.sampled_from([0.0, 0.3, 0.9]),
    top_p=st.sampled_from([1.0, 0.9]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    presence_penalty=st.sampled_from([0.0, 0.5]),
    frequency_penalty=st.sampled_from([0.0, 0.5]),
    logit_bias=st.sampled_from([(), ((3, 4.0), (7, float("-inf")))]),
    seed=st.integers(0, 3),
)
talks = st.builds(
    Request,
    ids=st.integers(1, 70).map(lambda n: IDS[:n]),
    max_tokens=st.integers(1, 40),
    min_tokens=st.sampled_from([0, 6]),
    stop_ids=st.sampled_from([(), tuple(range(0, 120, 17))]),
    sampling=samplings,
    n_top=st.integers(0, 2),
    logprobs=st.booleans(),
    priority=st.integers(0, 1),
)
plain_talks = st.builds(  # draws from the largest scores, where the model has room for them
    Request,
    ids=st.integers(1, 70).map(lambda n: IDS[:n]),
    max_tokens=st.integers(1, 40),
    sampling=st.builds(
        SamplingParameters,
        temperature=st.sampled_from([0.0, 0.9, 1.5]),
        top_k=st.sampled_from([1, 5, 64]),
        seed=st.integers(0, 3),
    ),
)
others = st.sampled_from(
    [Request(ids=IDS[:50], score=True), Request(ids=IDS[:40], hidden="all"), Request(ids=IDS[5:30], hidden="last")]
)


@settings(max_examples=80, deadline=None)
@given(
    model=st.sampled_from(["llama", "fused"]),
    requests=st.one_of(
        st.lists(st.one_of(talks, talks, talks, others), min_size=1, max_size=4),
        st.lists(plain_talks, min_size=1, max_size=4),
    ),
    lies=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    most=st.sampled_from([1, 3, MOST_DRAFTS, 15]),
    n_pages=st.sampled_from([5, 8, 30]),
    limits=st.sampled_from([(256, 64), (9, 4), (24, 8)]),
    threads=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_bytes_do_not_depend_on_what_is_guessed(model, requests, lies, most, n_pages, limits, threads, seed):
    truths = {request: [*request.ids, *alone(request, model)[0]] for request in requests}
    busy = executor(model, n_pages=n_pages, max_tokens=limits[0], max_outputs=limits[1], threads=threads)
    if any(request.hidden == "all" for request in requests) and limits[1] < 64:
        requests = [request for request in requests if request.hidden != "all"]
    engine = Engine(busy, drafter=Teller(truths, lies, seed, most))
    assert ended(engine, requests) == [alone(request, model) for request in requests]


@pytest.mark.parametrize("logprobs", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_every_kind_of_model_gives_the_same_bytes_in_fewer_steps(model, logprobs):
    requests = [
        Request(
            ids=IDS[: 20 + 9 * i],
            max_tokens=70,
            logprobs=logprobs,
            sampling=SamplingParameters(temperature=0.5 * i, top_k=40, seed=i),
        )
        for i in range(3)
    ]
    truths = {request: [*request.ids, *alone(request, *model)[0]] for request in requests}
    for lies in (0.0, 0.2):
        engine = Engine(executor(*model), drafter=Teller(truths, lies, 5))
        assert ended(engine, requests) == [alone(request, *model) for request in requests]
        assert 0.3 < engine.drafter.accepted / engine.drafter.drafted < 0.9 if lies else engine.drafter.accepted > 150


@pytest.mark.parametrize("setting", ["auto", 4, 15])
def test_a_text_that_repeats_itself_is_spoken_in_fewer_steps(setting):
    request = Request(ids=IDS[:30] * 2, max_tokens=80, sampling=SamplingParameters(logit_bias=((5, 1e4),)))
    engine = Engine(executor(), drafter=drafter_of(setting))
    sequence, steps = engine.submit(request), 0
    while engine.step():
        steps += 1
    assert outcome(sequence) == alone(request)
    assert sequence.generated == [5] * 80
    assert steps < 60
    assert 0 < sequence.n_accepted <= sequence.n_drafted == engine.drafter.drafted


def test_pages_that_others_find_hold_no_refused_guess():
    request = Request(ids=IDS[:40], max_tokens=100, sampling=SamplingParameters(temperature=0.9, seed=1))
    truth = [*request.ids, *alone(request)[0]]
    engine = Engine(executor(), drafter=Teller({request: truth}, 0.5, 1))
    assert ended(engine, [request]) == [alone(request)]
    following = Request(ids=tuple(truth[:135]), max_tokens=20, logprobs=True)
    engine.drafter = None
    sequence = engine.submit(following)
    engine.wait(sequence)
    assert sequence.n_cached == 135 // PAGE_TOKENS * PAGE_TOKENS
    assert outcome(sequence) == alone(following)


def test_drafts_take_pages_of_nobody():
    small = executor(n_pages=4)
    first = Request(ids=IDS[:60], max_tokens=20, sampling=SamplingParameters(temperature=0.9))
    second = Request(ids=IDS[30:60], max_tokens=20, sampling=SamplingParameters(temperature=0.9))
    truths = {request: [*request.ids, *alone(request)[0]] for request in (first, second)}
    engine = Engine(small, drafter=Teller(truths, 0.3, 2), share_prefixes=False)
    sequences = [engine.submit(first), engine.submit(second)]
    held = [0, 0]
    while engine.step():
        engine.check()
        now = [len(sequence.pages) for sequence in sequences]
        assert sequences[0].state == "finished" or now[0] >= held[0], "the first is never robbed"
        held = now
    assert [outcome(s) for s in sequences] == [alone(first), alone(second)]


def test_a_row_without_numbers_behind_a_guess_ends_the_sequence_at_its_own_step():
    """All ids but the drawn one are barred once min_tokens are there: the error names the position it would without."""
    barred = tuple((id, float("-inf")) for id in range(120) if id != 5)
    sampling = SamplingParameters(logit_bias=barred)
    request = Request(ids=IDS[:20], max_tokens=30, min_tokens=9, stop_ids=(5,), sampling=sampling)
    calm = Engine(executor())
    expected = calm.submit(request)
    with pytest.raises(UserError, match="no token is allowed at position 20"):
        calm.wait(expected)
    engine = Engine(executor(), drafter=Teller({request: [*IDS[:20], *[5] * 30]}, 0.0, 1))
    sequence = engine.submit(request)
    with pytest.raises(UserError, match="no token is allowed at position 20"):
        engine.wait(sequence)
    assert sequence.generated == expected.generated


class Lost:
    """An executor whose rows have no numbers from a position on."""

    def __init__(self, inner: NativeExecutor, position: int):
        self._inner, self._position = inner, position

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def step(self, batch):
        result = self._inner.step(batch)
        for i, output in enumerate(batch.outputs):
            if output.position >= self._position:
                result.sampled[i] = None
        return result


@pytest.mark.parametrize("position", range(41, 52))
def test_lost_numbers_are_told_at_the_step_that_needs_them(position):
    request = Request(ids=IDS[:40], max_tokens=30, logprobs=True)
    truth = [*request.ids, *alone(request)[0]]
    engine = Engine(Lost(executor(), position), drafter=Teller({request: truth}, 0.0, 1))
    sequence = engine.submit(request)
    with pytest.raises(LlmosError, match=f"no numbers for position {position}"):
        engine.wait(sequence)
    assert sequence.ids == truth[:position]
    assert len(sequence.logprobs) == position - 40
    engine.check()
    assert engine.pool.n_available == 30


def test_settings_that_are_none_are_refused():
    assert drafter_of("off") is None
    for wrong in ("on", 0, 16, True, None, 2.5):
        with pytest.raises(UserError, match="allowed: 'auto', 'off', or 1 to 15"):
            drafter_of(wrong)
