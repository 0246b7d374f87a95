"""Greedy and top-k draws keep the largest scores while the output head makes them (best.h): the tokens are those of whole rows.

Whether it may is a matter of the whole step: one request that wants log-probabilities has all rows written, those of others too.
"""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.runtime import Batch, NativeExecutor, Output, Request, SamplingParameters
from tests.runtime.test_same_bytes import FORMATS, run_alone, run_together
from tests.tiny_programs import CONFIGS, random_program

pytestmark = pytest.mark.toolchain
VOCAB = CONFIGS["fused"]["vocab_size"]
IDS = np.random.default_rng(4).integers(0, VOCAB, 100).tolist()
MOST = 64  # kMostBest of best.h
TOP_K = (1, 5, 40, MOST)


def executor(weights: str = "int8", kv: str = "int8", threads: int = 1) -> NativeExecutor:
    return NativeExecutor(
        random_program(weights, kv, model="fused"), threads=threads, n_pages=8, max_tokens=128, max_outputs=128
    )


def sampling(i: int) -> SamplingParameters:
    """Greedy at every third place; the others draw from few or more."""
    return SamplingParameters(temperature=1.2 * (i % 3 > 0), top_k=TOP_K[i % 4], top_p=(1.0, 0.9)[i % 2], seed=i)


def step(executor: NativeExecutor, start: int, end: int, draws, **wanted):
    """Runs the ids from `start` to `end`, drawing behind each."""
    rows = range(end - start)
    return executor.step(
        Batch(
            token_ids=IDS[start:end],
            positions=list(range(start, end)),
            sequence=[0] * len(rows),
            block_table=[[3, 6, 1, 0]],
            outputs=[Output(row=i, sampling=draws(start + i), position=start + i + 1) for i in rows],
            **wanted,
        )
    )


def drawn(executor: NativeExecutor, chunks: list[int]) -> list[int | None]:
    """What is drawn behind each id where nobody asks for more, the ids computed in the given chunks."""
    ends = np.cumsum([0, *chunks]).tolist()
    return [id for start, end in itertools.pairwise(ends) for id in step(executor, start, end, sampling).sampled]


def writes_its_rows(threads: int, draws) -> bool:
    """Whether a new executor's memory holds scores after a step of one row that nobody asked for."""
    other, fresh = executor(threads=1), executor(threads=threads)
    scores = step(other, 0, 1, draws, want_logits=True).logits
    step(fresh, 0, 1, draws)
    written = scores[0].tobytes() in bytes(fresh._arenas[1])
    other.close()
    fresh.close()
    return written


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_rows_are_not_written_where_the_largest_scores_are_enough(threads):
    assert not writes_its_rows(threads, lambda i: SamplingParameters())
    assert not writes_its_rows(threads, lambda i: SamplingParameters(temperature=0.8, top_k=MOST))
    assert writes_its_rows(threads, lambda i: SamplingParameters(temperature=0.8, top_k=MOST + 1))


def test_rows_are_written_where_threads_have_no_room_for_lists():
    assert writes_its_rows(4, lambda i: SamplingParameters())


@pytest.mark.parametrize(("weights", "kv"), FORMATS)
def test_draws_are_those_from_whole_rows_in_any_chunks_and_with_any_threads(weights, kv):
    one = executor(weights, kv)
    expected = step(one, 0, 100, sampling, want_logits=True).sampled
    assert len({*expected}) > 20
    for threads in (1, 2, 3):
        some = executor(weights, kv, threads)
        for chunks in ([100], [1] * 100, [33, 31, 36], [64, 36]):
            assert drawn(some, chunks) == expected
        some.close()
    one.close()


def request_of(n: int, logprobs: bool = False) -> Request:
    return Request(ids=tuple(IDS[:n]), max_tokens=12 + n % 7, sampling=sampling(n), logprobs=logprobs)


def tokens(outcomes: list[tuple]) -> list[list[int]]:
    return [generated for generated, *_ in outcomes]


@functools.cache
def alone(weights: str, kv: str, n: int) -> list[int]:
    """The tokens of a request that has the machine to itself, drawn from the largest scores."""
    return tokens(run_alone(random_program(weights, kv, model="fused"), [request_of(n)]))[0]


@pytest.mark.parametrize(("weights", "kv"), FORMATS)
@settings(max_examples=10, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 80), min_size=1, max_size=5),
    curious=st.lists(st.booleans(), min_size=5, max_size=5),
    chunk=st.integers(1, 64),
    n_pages=st.integers(6, 24),
    share=st.booleans(),
    threads=st.integers(1, 3),
    speculation=st.sampled_from(["off", "auto", 3, 15]),
)
def test_engine_draws_the_same_tokens_whatever_the_schedule(
    weights, kv, lengths, curious, chunk, n_pages, share, threads, speculation
):
    requests = [request_of(n, logprobs) for n, logprobs in zip(lengths, curious, strict=False)]
    how = {"threads": threads, "n_pages": n_pages, "chunk": chunk, "share": share, "speculation": speculation}
    together, _, _ = run_together(random_program(weights, kv, model="fused"), requests, **how)
    assert tokens(together) == [alone(weights, kv, n) for n in lengths]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("speculation", ["off", 4])
def test_cache_hits_and_preemption_change_no_token(threads, speculation):
    lengths = (75, 90, 40, 81, 99)
    together, n_cached, n_preempted = run_together(
        random_program("int4", "int8", model="fused"),
        [request_of(n) for n in lengths],
        threads=threads,
        n_pages=5,
        chunk=24,
        share=True,
        speculation=speculation,
    )
    assert tokens(together) == [alone("int4", "int8", n) for n in lengths]
    assert n_cached > 0
    assert n_preempted > 0
