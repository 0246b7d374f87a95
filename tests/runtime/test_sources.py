"""The engine with a model that has an encoder: every sequence reads its own source, and no other."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.core.errors import UserError
from llmos.models import shapes, spec_from_config
from llmos.runtime import Engine, NativeExecutor, Program, Request
from llmos.weights import Tensor
from tests.tiny_programs import program, random_program

pytestmark = pytest.mark.toolchain
CONFIG = {
    "model_type": "t5",
    "d_model": 40,
    "d_kv": 12,
    "d_ff": 52,
    "num_layers": 2,
    "num_heads": 3,
    "vocab_size": 120,
    "n_positions": 160,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
}
IDS = np.random.default_rng(3).integers(0, 120, 160).tolist()
SOURCES = [tuple(IDS[:70]), tuple(IDS[40:43]), tuple(IDS[100:160])]


@functools.cache
def reader() -> Program:
    spec, rng = spec_from_config(CONFIG), np.random.default_rng(0)
    w = {n: Tensor("float32", rng.normal(0.1, 0.3, s).astype(np.float32)) for n, s in shapes(spec).items()}
    return program(spec, w, "float32", "float32", None)


def executor(**limits) -> NativeExecutor:
    return NativeExecutor(reader(), **{"threads": 1, "n_pages": 24, "max_tokens": 160} | limits)


def outcome(sequence) -> tuple:
    return sequence.generated, sequence.logprobs, sequence.scores, [row.tobytes() for row in sequence.hidden]


@functools.cache
def alone(request: Request) -> tuple:
    """What comes of a request that has the machine to itself."""
    calm = executor()
    engine = Engine(calm)
    sequence = engine.submit(request)
    engine.wait(sequence)
    calm.close()
    return outcome(sequence)


def wanted(what: str, source: int, n: int, priority: int) -> Request:
    about = {"score": {"score": True}, "generate": {"max_tokens": 40, "logprobs": True}}.get(what, {"hidden": what})
    return Request(ids=tuple(IDS[-n:]), source=SOURCES[source], priority=priority, **about)


kinds = st.sampled_from(["generate", "score", "all", "first", "last"])


@settings(max_examples=20, deadline=None)
@given(
    requests=st.lists(
        st.builds(wanted, kinds, st.integers(0, 2), st.integers(1, 70), st.integers(0, 1)), min_size=1, max_size=6
    ),
    n_pages=st.integers(8, 14),
    chunk=st.integers(1, 64),
    threads=st.integers(1, 2),
)
def test_every_kind_of_request_gives_the_same_bits_in_any_company(requests, n_pages, chunk, threads):
    busy = executor(threads=threads, n_pages=n_pages)
    engine = Engine(busy, chunk_tokens=chunk)
    sequences = [engine.submit(request) for request in requests]
    while engine.processes():
        engine.step()
        engine.check()
    for request, sequence in zip(requests, sequences, strict=True):
        assert outcome(sequence) == alone(request)
    assert engine.pool.n_available == n_pages
    busy.close()


def test_keys_and_values_of_an_answer_serve_no_answer_to_another_source():
    beginning = tuple(IDS[:65])
    requests = [Request(ids=beginning, source=source, max_tokens=6, logprobs=True) for source in SOURCES]
    expected = [alone(request) for request in requests]
    assert len({tuple(logprobs) for _, logprobs, *_ in expected}) == 3  # the source has a say
    calm = executor()
    engine = Engine(calm)
    for request, told in zip(requests, expected, strict=True):
        sequence = engine.submit(request)
        engine.wait(sequence)
        assert outcome(sequence) == told
    calm.close()


class Ends:
    """An executor in which something comes while the encoder of a sequence has read its source."""

    def __init__(self, executor: NativeExecutor, what):
        self._executor, self._what = executor, what

    def __getattr__(self, name):
        return getattr(self._executor, name)

    def encode(self, batch):
        self._executor.encode(batch)
        self._what()


def test_an_interrupt_behind_the_encoder_changes_nothing():
    request, interrupts = wanted("generate", 0, 5, 0), [KeyboardInterrupt]

    def interrupt():
        if interrupts:
            raise interrupts.pop()

    calm = executor()
    engine = Engine(Ends(calm, interrupt))
    sequence = engine.submit(request)
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    engine.check()
    engine.wait(sequence)
    assert outcome(sequence) == alone(request)
    calm.close()


def test_a_sequence_that_is_abandoned_while_its_source_is_read_gives_all_pages_back():
    calm = executor()
    engine = Engine(Ends(calm, lambda: dropped.abandon()))
    kept, dropped = engine.submit(wanted("score", 0, 40, 0)), engine.submit(wanted("generate", 2, 3, 0))
    engine.wait(kept)
    assert outcome(kept) == alone(kept.request)
    assert (dropped.finish_reason, dropped.generated) == ("cancelled", [])
    assert engine.processes() == []
    engine.check()
    assert engine.pool.n_available == 24
    calm.close()


def test_a_source_is_needed_where_there_is_an_encoder_and_refused_elsewhere():
    narrow, plain = executor(max_tokens=64), NativeExecutor(random_program("float32", "float32"), threads=1, n_pages=8)
    with pytest.raises(UserError, match="has an encoder: give a source"):
        Engine(narrow).submit(Request(ids=(1, 2)))
    with pytest.raises(UserError, match="70 tokens and must be read at once, a step holds 64"):
        Engine(narrow).submit(Request(ids=(1, 2), source=SOURCES[0]))
    with pytest.raises(UserError, match="no encoder, which would read a source"):
        Engine(plain).submit(Request(ids=(1, 2), source=(3,)))
    narrow.close()
    plain.close()
