"""The engine with a model whose sequences must be whole in a step, and hidden rows of models that need no such thing."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.core.errors import UserError
from llmos.models import shapes, spec_from_config
from llmos.runtime import Engine, NativeExecutor, Request, SamplingParameters
from llmos.weights import Tensor
from tests.tiny_programs import program, random_program

pytestmark = pytest.mark.toolchain
CONFIG = {
    "model_type": "bert",
    "hidden_size": 40,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 52,
    "vocab_size": 120,
    "max_position_embeddings": 100,
}
IDS = np.random.default_rng(3).integers(0, 120, 100).tolist()


@functools.cache
def encoder(weights: str = "float32", kv: str = "float32"):
    spec, rng = spec_from_config(CONFIG), np.random.default_rng(0)
    w = {n: Tensor("float32", rng.normal(0.1, 0.3, s).astype(np.float32)) for n, s in shapes(spec).items()}
    return program(spec, w, weights, kv, None)


def executor(**limits) -> NativeExecutor:
    return NativeExecutor(encoder(), **{"threads": 1, "n_pages": 16, "max_tokens": 100, "max_outputs": 100} | limits)


@functools.cache
def alone(request: Request) -> bytes:
    """The hidden rows of a request that has the machine to itself."""
    calm = executor()
    engine = Engine(calm)
    sequence = engine.submit(request)
    engine.wait(sequence)
    calm.close()
    return np.stack(sequence.hidden).tobytes()


requests = st.tuples(st.integers(1, 100), st.integers(0, 2), st.sampled_from(["all", "first", "last"]))


@settings(max_examples=20, deadline=None)
@given(
    wanted=st.lists(requests, min_size=1, max_size=7),
    max_tokens=st.integers(100, 160),
    n_pages=st.integers(4, 12),
    chunk=st.integers(1, 64),
    threads=st.integers(1, 2),
)
def test_sequences_are_never_cut_and_give_the_same_bits_in_any_company(wanted, max_tokens, n_pages, chunk, threads):
    busy = executor(threads=threads, n_pages=n_pages, max_tokens=max_tokens, max_outputs=max_tokens)
    engine = Engine(busy, chunk_tokens=chunk)
    sequences = [
        engine.submit(Request(ids=tuple(IDS[-n:]), hidden=hidden, priority=priority)) for n, priority, hidden in wanted
    ]
    while engine.processes():
        engine.step()
        engine.check()
        assert all(s.n_computed in (0, s.n_prompt) for s in sequences)
    for sequence in sequences:
        assert sequence.finish_reason == "stop"
        assert sequence.generated == []
        assert np.stack(sequence.hidden).tobytes() == alone(
            Request(ids=sequence.request.ids, hidden=sequence.request.hidden)
        )
    assert engine.pool.n_available == n_pages
    busy.close()


def test_no_page_of_one_text_serves_another():
    calm = executor()
    engine = Engine(calm)
    first = engine.submit(Request(ids=tuple(IDS), hidden="all"))
    engine.wait(first)
    second = engine.submit(Request(ids=(*IDS[:99], 7), hidden="all"))
    engine.wait(second)
    assert second.n_cached == 0
    assert not np.array_equal(first.hidden[0], second.hidden[0])  # the first token has seen another last one
    calm.close()


def test_a_text_that_no_step_can_hold_is_refused():
    narrow = executor(max_tokens=64, max_outputs=32)
    engine = Engine(narrow)
    with pytest.raises(UserError, match="65 tokens and must be computed at once, a step holds 64"):
        engine.submit(Request(ids=tuple(IDS[:65]), hidden="first"))
    with pytest.raises(UserError, match="33 tokens and must be computed at once, a step holds 32"):
        engine.submit(Request(ids=tuple(IDS[:33]), hidden="all"))
    narrow.close()


def test_values_that_are_no_numbers_end_their_own_sequence_only():
    spec, rng = spec_from_config(CONFIG), np.random.default_rng(0)
    w = {n: Tensor("float32", rng.normal(0.1, 0.3, s).astype(np.float32)) for n, s in shapes(spec).items()}
    w["embed"].data[5] = np.nan
    poisoned = NativeExecutor(program(spec, w, "float32", "float32", None), threads=1, n_pages=8)
    engine = Engine(poisoned)
    bad, good = (engine.submit(Request(ids=ids, hidden="all")) for ids in ((1, 5), (1, 2)))
    with pytest.raises(Exception, match="no numbers for position 0"):
        engine.wait(bad)
    engine.wait(good)
    assert len(good.hidden) == 2
    poisoned.close()


@pytest.mark.parametrize("hidden", ["all", "first", "last"])
def test_a_decoder_gives_the_same_rows_in_chunks_beside_those_who_talk(hidden):
    request = Request(ids=tuple(IDS), hidden=hidden)

    def rows(chunk: int, n_pages: int, company: bool) -> np.ndarray:
        calm = NativeExecutor(random_program("float32", "float32"), threads=1, n_pages=n_pages, max_outputs=16)
        engine = Engine(calm, chunk_tokens=chunk)
        others = [Request(ids=tuple(IDS[:n]), sampling=SamplingParameters(), max_tokens=40) for n in (3, 33)]
        talking = [engine.submit(other) for other in others if company]
        sequence = engine.submit(request)
        for one in (*talking, sequence):
            engine.wait(one)
        engine.check()
        calm.close()
        return np.stack(sequence.hidden)

    expected = rows(100, 16, False)
    assert len(expected) == (100 if hidden == "all" else 1)
    for chunk, n_pages, company in ((7, 16, False), (33, 16, True), (100, 5, True)):
        np.testing.assert_array_equal(rows(chunk, n_pages, company), expected)


def test_a_cancelled_text_gives_its_pages_back():
    calm = executor()
    engine = Engine(calm)
    sequence = engine.submit(Request(ids=tuple(IDS), hidden="all"))
    engine.cancel(sequence)
    assert engine.pool.n_available == 16
    calm.close()
