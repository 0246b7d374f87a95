"""Who gets room and pages: by standing, decoding first, nobody left out for ever, and never at the cost of a byte."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.runtime import Engine, NativeExecutor, Request, SamplingParameters
from llmos.runtime.scheduler import PATIENCE, Scheduler
from tests.tiny_programs import random_program

pytestmark = pytest.mark.toolchain
IDS = tuple(np.random.default_rng(3).integers(0, 120, 190).tolist())


def executor(**limits) -> NativeExecutor:
    return NativeExecutor(random_program("int8", "int8"), threads=1, **limits)


@functools.cache
def alone(request: Request) -> list:
    """What a request gives with the machine to itself."""
    calm = executor(n_pages=8)
    engine = Engine(calm, share_prefixes=False)
    sequence = engine.submit(request)
    engine.wait(sequence)
    calm.close()
    return sequence.scores if request.score else sequence.generated


def request(start: int, n: int, max_tokens: int, **more) -> Request:
    return Request(
        ids=IDS[start : start + n], max_tokens=max_tokens, sampling=SamplingParameters(temperature=0.9, seed=n), **more
    )


class Watched(Scheduler):
    """Notes who was refused pages or lost them."""

    def plan(self, active):
        self.losers = []
        return super().plan(active)

    def _fill(self, sequence, n_tokens, active):
        loser = super()._fill(sequence, n_tokens, active)
        if loser is not None:
            self.losers.append(loser)
        return loser


def watch(engine: Engine) -> Watched:
    engine._scheduler = Watched(engine.executor, engine.pool, engine.chunk_tokens)
    return engine._scheduler


def test_a_prompt_of_high_priority_takes_pages_from_those_who_are_talking():
    busy = executor(n_pages=6)
    engine = Engine(busy)
    low = [engine.submit(request(i, 60, 60, priority=1)) for i in (0, 1, 2)]
    while not all(sequence.decodes for sequence in low):
        engine.step()
    assert engine.pool.n_available == 0
    high = engine.submit(request(5, 100, 30, priority=0))
    engine.wait(high)
    assert [sequence.state for sequence in low] != ["finished"] * 3
    assert all(len(sequence.generated) < 40 for sequence in low)
    for sequence in low:
        engine.wait(sequence)
    for sequence in (high, *low):
        assert sequence.generated == alone(sequence.request)
    engine.check()
    busy.close()


actions = st.one_of(
    st.tuples(
        st.just("submit"),
        st.sampled_from([(0, 1), (0, 40), (0, 70), (3, 33), (3, 64), (9, 100)]),
        st.sampled_from([1, 8, 45]),
        st.integers(0, 2),
        st.booleans(),
    ),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("step"), st.integers(1, 12)),
)


@settings(max_examples=60, deadline=None)
@given(
    actions=st.lists(actions, max_size=25),
    n_pages=st.integers(5, 12),
    chunk=st.sampled_from([5, 32, 256]),
    max_outputs=st.sampled_from([2, 5, 64]),
    share=st.booleans(),
)
def test_nobody_holds_pages_while_one_of_higher_standing_is_refused(actions, n_pages, chunk, max_outputs, share):
    busy = executor(n_pages=n_pages, max_outputs=max_outputs)
    engine = Engine(busy, chunk_tokens=chunk, share_prefixes=share)
    scheduler, sequences = watch(engine), []

    def step():
        engine.step()
        engine.check()
        live = [s for s in sequences if s.state != "finished"]
        for loser in scheduler.losers:
            shared = {page for s in live if s.standing <= loser.standing for page in s.pages}
            for below in live:
                assert below.standing <= loser.standing or set(below.pages) <= shared

    for action, *values in actions:
        if action == "submit":
            (start, n), max_tokens, priority, score = values
            sequences.append(engine.submit(request(start, n, max_tokens, priority=priority, score=score)))
        elif action == "cancel" and sequences:
            engine.cancel(sequences[values[0] % len(sequences)])
        elif action == "step":
            for _ in range(values[0]):
                step()
    limit = 20 * sum(len(s.request.ids) + s.request.max_tokens for s in sequences)
    while engine.processes():
        step()
        limit -= 1
        assert limit > 0, "no progress"
    assert engine.pool.n_available == n_pages
    for s in sequences:
        if s.finish_reason != "cancelled":
            assert (s.scores if s.request.score else s.generated) == alone(s.request)
    busy.close()


@pytest.mark.parametrize("late", [request(0, 40, 5, score=True), request(0, 1, 3), request(0, 60, 3)])
def test_a_crowd_that_fills_every_step_does_not_keep_others_out(late: Request):
    busy = executor(n_pages=40, max_outputs=4, max_tokens=4)
    engine = Engine(busy)
    crowd = [engine.submit(request(i, 2, 180)) for i in range(5)]
    while not all(sequence.generated for sequence in crowd):
        engine.step()
    sequence = engine.submit(late)
    while sequence.state != "finished" and not sequence.generated:
        for _ in range(PATIENCE + 1):
            n_computed = sequence.n_computed
            engine.step()
            if sequence.n_computed > n_computed:
                break
        assert sequence.n_computed > n_computed or sequence.state == "finished"
        assert all(other.state != "finished" for other in crowd)
    for each in (sequence, *crowd):
        engine.wait(each)
        assert (each.scores if each.request.score else each.generated) == alone(each.request)
    busy.close()


def test_those_who_talk_go_on_while_a_long_prompt_is_read():
    busy = executor(n_pages=20, max_tokens=8)
    engine = Engine(busy)
    talking = engine.submit(request(0, 3, 100))
    engine.wait(talking, 1)
    reading = engine.submit(request(4, 150, 1))
    before, steps = len(talking.ids), 0
    while not reading.generated:
        engine.step()
        steps += 1
    assert len(talking.ids) - before == steps
    assert steps <= 150 // 7 + 2
    busy.close()
