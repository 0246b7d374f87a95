"""What fails takes nobody with it: a step, a model that gives no numbers, a library that cannot be loaded."""

import gc
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from llmos.core.errors import LlmosError, ResourceError, UserError
from llmos.models import shapes, spec_from_config
from llmos.runtime import Engine, NativeExecutor, Request, SamplingParameters
from llmos.runtime.abi import load_library
from llmos.weights import Tensor
from tests.tiny_programs import CONFIG, program, random_program

pytestmark = pytest.mark.toolchain
POISON = 5
UNSAID = 119  # a token that the model does not say in these tests


class Failing:
    """An executor whose step fails while the batch holds a token."""

    def __init__(self, executor: NativeExecutor, token: int):
        self._executor, self._token = executor, token

    def __getattr__(self, name):
        return getattr(self._executor, name)

    def step(self, batch):
        if self._token in batch.token_ids:
            raise ResourceError("out of something")
        return self._executor.step(batch)


def poisoned(table: str, value: float) -> NativeExecutor:
    """A model in which the row POISON of one of its two tables is damaged."""
    spec = spec_from_config({**CONFIG, "tie_word_embeddings": False})
    rng = np.random.default_rng(0)
    w = {n: Tensor("float32", rng.normal(0.1, 0.3, s).astype(np.float32)) for n, s in shapes(spec).items()}
    w[table].data[POISON] = value
    return NativeExecutor(program(spec, w, "float32", "float32", None), threads=2, n_pages=16)


def test_a_failed_step_ends_those_that_were_in_it_and_every_waiter_hears_why():
    executor = NativeExecutor(random_program("int8", "int8"), threads=1, n_pages=16)
    engine = Engine(Failing(executor, UNSAID))
    bad = [engine.submit(Request(ids=(1, 2, UNSAID))), engine.submit(Request(ids=(3, 4)))]
    heard = []

    def wait(sequence):
        with pytest.raises(ResourceError, match="out of something"):
            engine.wait(sequence)
        heard.append(sequence)

    threads = [threading.Thread(target=wait, args=(sequence,)) for sequence in bad]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(map(id, heard)) == set(map(id, bad))
    assert [sequence.finish_reason for sequence in bad] == ["error", "error"]
    engine.check()
    assert engine.pool.n_available == 16
    good = engine.submit(Request(ids=(3, 4), max_tokens=3))
    engine.wait(good)
    assert len(good.generated) == 3
    executor.close()


def test_a_sequence_whose_scores_are_no_numbers_ends_with_an_error_and_its_neighbours_go_on():
    executor = poisoned("embed", np.nan)
    engine = Engine(executor)
    neighbours = [Request(ids=(1, 2, 3), max_tokens=8, logprobs=True), Request(ids=(9, 8, 7), score=True)]
    expected = []
    for request in neighbours:
        sequence = engine.submit(request)
        engine.wait(sequence)
        expected.append((sequence.generated, sequence.scores))
    bad = [engine.submit(Request(ids=(1, POISON, 3), score=score)) for score in (False, True)]
    good = [engine.submit(request) for request in neighbours]
    for sequence in bad:
        with pytest.raises(LlmosError, match=r"no numbers for position [23] "):
            engine.wait(sequence)
        assert sequence.finish_reason == "error"
        assert sequence.generated == []
    for sequence, values in zip(good, expected, strict=True):
        engine.wait(sequence)
        assert (sequence.generated, sequence.scores) == values
    engine.check()
    assert engine.pool.n_available == 16
    executor.close()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_that_overflow_are_no_numbers(temperature):
    executor = poisoned("head", np.inf)
    engine = Engine(executor)
    sequence = engine.submit(Request(ids=(1, 2), sampling=SamplingParameters(temperature=temperature)))
    with pytest.raises(LlmosError, match="no numbers for position 2 "):
        engine.wait(sequence)
    executor.close()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("min_tokens", [0, 3])
def test_who_bans_every_token_is_told_so_and_the_weights_are_not_blamed(temperature, min_tokens):
    executor = NativeExecutor(random_program("float32", "float32"), threads=1, n_pages=8)
    engine = Engine(executor)
    neighbour = engine.submit(Request(ids=(3, 4), max_tokens=3))
    spared = (7, 8) if min_tokens else ()  # the only ids left are ends, which min_tokens bars
    bans = tuple((id, -np.inf) for id in range(executor.vocab) if id not in spared)
    sampling = SamplingParameters(temperature=temperature, logit_bias=bans)
    sequence = engine.submit(Request(ids=(1, 2), sampling=sampling, min_tokens=min_tokens, stop_ids=spared))
    with pytest.raises(UserError, match=r"no token is allowed at position 2: .*logit_bias.*min_tokens"):
        engine.wait(sequence)
    engine.wait(neighbour)
    assert len(neighbour.generated) == 3
    engine.check()
    executor.close()


def test_more_alternatives_than_tokens_are_all_tokens_once():
    executor = NativeExecutor(random_program("float32", "float32"), threads=1, n_pages=8)
    engine = Engine(executor)
    sequence = engine.submit(Request(ids=(1, 2), max_tokens=2, n_top=executor.vocab + 5))
    engine.wait(sequence)
    for top in sequence.top:
        assert sorted(id for id, _ in top) == list(range(executor.vocab))
        assert np.isfinite([value for _, value in top]).all()
    executor.close()


def test_a_closed_executor_is_said_to_everyone_who_asks():
    executor = NativeExecutor(random_program("int8", "int8"), threads=1, n_pages=4)
    engine = Engine(executor)
    running = engine.submit(Request(ids=(1, 2)))
    engine.step()
    engine.close()
    assert running.finish_reason == "cancelled"
    for _ in range(2):
        with pytest.raises(UserError, match="closed"):
            engine.wait(engine.submit(Request(ids=(1, 2))))
    assert engine.processes() == []


def test_a_library_that_the_system_does_not_load_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "x.so").write_text("not a library")
    with pytest.raises(UserError, match="LLMOS_CACHE"):
        load_library(str(tmp_path / "x.so"))


def threads_settle_at(n: int) -> bool:
    """Whether the process comes to have n threads: an ended one is listed for a moment longer than it is waited for."""
    deadline = time.monotonic() + 10
    while (found := len(list(Path("/proc/self/task").iterdir()))) != n and time.monotonic() < deadline:
        os.sched_yield()
    return found == n


@pytest.mark.parametrize("closed", [True, False])
def test_an_executor_that_is_closed_or_dropped_leaves_no_threads(closed):
    NativeExecutor(random_program("int8", "int8"), threads=1, n_pages=2).close()  # what compiles and packs has ended
    gc.collect()  # executors of other tests
    before = len(list(Path("/proc/self/task").iterdir()))
    executor = NativeExecutor(random_program("int8", "int8"), threads=4, n_pages=2)
    assert threads_settle_at(before + 3)
    if closed:
        executor.close()
        executor.close()
    del executor
    gc.collect()
    assert threads_settle_at(before)
