"""Design rule 3: a prompt gives the same bytes alone or in a crowd, in any chunks, with any threads, cached or not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.core.errors import LlmosError, ResourceError, UserError
from llmos.runtime import Batch, Engine, NativeExecutor, Output, Request, SamplingParameters
from llmos.runtime.drafting import drafter_of
from tests.tiny_programs import random_program

pytestmark = pytest.mark.toolchain
FORMATS = [("float32", "float32"), ("bf16", "bf16"), ("int8", "int8")]
FORMATS += [("float16", "float16"), ("int4", "int8"), ("uint4", "bf16")]
MODELS = [(model, *formats) for model in ("llama", "fused") for formats in FORMATS]
MODELS += [(model, *formats) for model in ("windows", "experts") for formats in (FORMATS[0], FORMATS[2])]
MODELS += [("experts", "float16", "bf16"), ("experts", "uint4", "float16")]
IDS = np.random.default_rng(3).integers(0, 120, 100).tolist()


def logits_of(executor, ids, chunks, pages):
    """Scores of every position, the prompt computed in the given chunks."""
    out, at = [], 0
    for n in chunks:
        n = min(n, len(ids) - at)
        if n <= 0:
            break
        batch = Batch(
            token_ids=ids[at : at + n],
            positions=list(range(at, at + n)),
            sequence=[0] * n,
            block_table=[pages],
            outputs=[Output(row=i) for i in range(n)],
            want_logits=True,
        )
        out.append(executor.step(batch).logits)
        at += n
    return np.concatenate(out)


@pytest.mark.parametrize(("model", "weights", "kv"), MODELS)
def test_scores_do_not_depend_on_chunks_threads_or_pages(model, weights, kv):
    program = random_program(weights, kv, model=model)
    one = NativeExecutor(program, threads=1, n_pages=8, max_tokens=128, max_outputs=128)
    two = NativeExecutor(program, threads=2, n_pages=8, max_tokens=128, max_outputs=128)
    expected = logits_of(one, IDS, [100], [0, 1, 2, 3])
    assert np.isfinite(expected).all()
    for executor in (one, two):
        for chunks in ([100], [1] * 100, [33, 31, 36], [7] * 15, [64, 36]):
            np.testing.assert_array_equal(logits_of(executor, IDS, chunks, [7, 2, 5, 0]), expected)
    one.close()
    two.close()


@pytest.mark.parametrize(("model", "weights", "kv"), MODELS)
def test_scores_do_not_depend_on_the_crowd(model, weights, kv):
    executor = NativeExecutor(
        random_program(weights, kv, model=model), threads=2, n_pages=16, max_tokens=128, max_outputs=64
    )
    alone = logits_of(executor, IDS[:40], [40], [0, 1])
    rng = np.random.default_rng(0)
    mixed = [(0, p, IDS[p]) for p in range(40)] + [(1, p, int(rng.integers(120))) for p in range(50)]
    order = [*sorted(rng.permutation(90).tolist(), key=lambda i: mixed[i][1])]
    batch = Batch(
        token_ids=[mixed[i][2] for i in order],
        positions=[mixed[i][1] for i in order],
        sequence=[mixed[i][0] for i in order],
        block_table=[[9, 4], [3, 8]],
        outputs=[Output(row=order.index(p)) for p in range(40)],
        want_logits=True,
    )
    np.testing.assert_array_equal(executor.step(batch).logits, alone)
    executor.close()


def outcome(sequence) -> tuple:
    """What a caller gets, with the bits of every number."""
    scores = [np.nan if score is None else score for score in sequence.scores]
    alternatives = np.array(sequence.top, np.float64)
    return sequence.generated, np.array(sequence.logprobs).tobytes(), np.array(scores).tobytes(), alternatives.tobytes()


def run_alone(program, requests) -> list[tuple]:
    """Each request by itself on an empty engine, its prompt in one piece."""
    executor = NativeExecutor(program, threads=1, n_pages=40)
    outcomes = []
    for request in requests:
        engine = Engine(executor, share_prefixes=False)
        sequence = engine.submit(request)
        engine.wait(sequence)
        outcomes.append(outcome(sequence))
    executor.close()
    return outcomes


def run_together(
    program, requests, *, threads, n_pages, chunk, share, speculation="off"
) -> tuple[list[tuple], int, int]:
    """All requests at once; also how many tokens came from the cache and how often a sequence lost its pages."""
    executor = NativeExecutor(program, threads=threads, n_pages=n_pages)
    engine = Engine(executor, chunk_tokens=chunk, share_prefixes=share, drafter=drafter_of(speculation))
    sequences = [engine.submit(request) for request in requests]
    n_cached = n_preempted = 0
    while engine.processes():
        computed = [sequence.n_computed for sequence in sequences]
        engine.step()
        engine.check()
        for before, sequence in zip(computed, sequences, strict=True):
            n_cached += sequence.n_cached if before == 0 < sequence.n_computed else 0
            n_preempted += sequence.n_computed < before
    assert engine.pool.n_available == n_pages
    executor.close()
    return [outcome(sequence) for sequence in sequences], n_cached, n_preempted


def request_of(n: int, temperature: float) -> Request:
    """One of several kinds: most generate after n ids, some score them."""
    sampling = SamplingParameters(temperature=temperature, seed=n, repetition_penalty=1.1)
    if n % 4 == 0:
        return Request(ids=tuple(IDS[:n]), score=True)
    return Request(ids=tuple(IDS[:n]), max_tokens=12 + n % 7, sampling=sampling, logprobs=True, n_top=n % 3)


@pytest.mark.parametrize(("weights", "kv"), FORMATS)
@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 80), min_size=1, max_size=5),
    chunk=st.integers(1, 64),
    n_pages=st.integers(6, 24),
    share=st.booleans(),
    threads=st.integers(1, 2),
    temperature=st.sampled_from([0.0, 0.9]),
    speculation=st.sampled_from(["off", "auto", 3, 15]),
)
def test_engine_gives_the_same_bits_whatever_the_schedule(
    weights, kv, lengths, chunk, n_pages, share, threads, temperature, speculation
):
    program = random_program(weights, kv)
    requests = [request_of(n, temperature) for n in lengths]
    how = {"threads": threads, "n_pages": n_pages, "chunk": chunk, "share": share, "speculation": speculation}
    together, _, _ = run_together(program, requests, **how)
    assert together == run_alone(program, requests)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("model", "weights", "kv"), MODELS)
def test_cache_hits_and_preemption_change_no_bit(model, weights, kv, threads):
    program = random_program(weights, kv, model=model)
    requests = [request_of(n, 0.9) for n in (75, 90, 40, 81, 99)]
    together, n_cached, n_preempted = run_together(program, requests, threads=threads, n_pages=5, chunk=24, share=True)
    assert together == run_alone(program, requests)
    assert n_cached > 0
    assert n_preempted > 0


def test_a_shared_prefix_is_not_computed_again_and_changes_nothing():
    executor = NativeExecutor(random_program("bf16", "bf16"), threads=1, n_pages=16)
    engine = Engine(executor)
    request = Request(ids=tuple(IDS[:70]), max_tokens=5)
    first, second = engine.submit(request), None
    engine.wait(first)
    second = engine.submit(request)
    engine.wait(second)
    assert second.n_cached == 64
    assert second.generated == first.generated
    executor.close()


def test_cancelling_at_any_time_frees_the_pages():
    executor = NativeExecutor(random_program("int8", "int8"), threads=1, n_pages=12)
    engine = Engine(executor, chunk_tokens=16)
    for steps in range(8):
        sequence = engine.submit(Request(ids=tuple(IDS), max_tokens=20))
        for _ in range(steps):
            engine.step()
        engine.cancel(sequence)
        engine.check()
        assert sequence.finish_reason == "cancelled"
        assert engine.pool.n_available == 12
    executor.close()


def test_scores_are_log_probabilities_of_the_definition():
    executor = NativeExecutor(
        random_program("float32", "float32"), threads=1, n_pages=12, max_outputs=16, max_tokens=128
    )
    engine = Engine(executor)
    sequence = engine.submit(Request(ids=tuple(IDS), score=True))
    engine.wait(sequence)
    wide = NativeExecutor(random_program("float32", "float32"), threads=1, n_pages=12, max_outputs=128, max_tokens=128)
    x = logits_of(wide, IDS, [100], [0, 1, 2, 3]).astype(np.float64)
    expected = x - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)) - x.max(-1, keepdims=True)
    assert sequence.scores[0] is None
    np.testing.assert_allclose(sequence.scores[1:], [expected[i, id] for i, id in enumerate(IDS[1:])], atol=1e-4)
    executor.close()
    wide.close()


def test_a_prompt_that_cannot_fit_is_refused_and_a_bad_id_named():
    executor = NativeExecutor(random_program("int8", "int8"), threads=1, n_pages=2)
    engine = Engine(executor)
    with pytest.raises(ResourceError, match="needs 4 KV pages, the pool has 2"):
        engine.submit(Request(ids=tuple(IDS)))
    with pytest.raises(UserError, match="token id 120"):
        engine.submit(Request(ids=(120,)))
    with pytest.raises(UserError, match="empty"):
        engine.submit(Request(ids=()))
    sequence = engine.submit(Request(ids=tuple(IDS[:60]), max_tokens=50))
    with pytest.raises(ResourceError, match="used by this sequence alone"):
        engine.wait(sequence)
    assert engine.pool.n_available == 2
    executor.close()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"token_ids": [999]}, 2),
        ({"positions": [500]}, 3),
        ({"block_table": [[77]]}, 4),
        ({"sequence": [3]}, 5),
        ({"outputs": [Output(row=9)]}, 5),
    ],
)
def test_native_code_refuses_a_step_that_would_leave_its_memory(change, status):
    executor = NativeExecutor(random_program("int8", "int8"), threads=1, n_pages=2)
    batch = Batch(token_ids=[1], positions=[0], sequence=[0], block_table=[[0]], outputs=[])
    for name, value in change.items():
        setattr(batch, name, value)
    with pytest.raises(LlmosError, match=f"status {status}"):
        executor.step(batch)
    executor.close()
