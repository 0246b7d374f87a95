"""The native sampler against its definition in numpy."""

import numpy as np
import pytest

from llmos.runtime import Batch, NativeExecutor, Output, SamplingParameters
from tests.tiny_programs import random_program

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def executor():
    executor = NativeExecutor(random_program("float32", "float32"), threads=2, n_pages=4)
    yield executor
    executor.close()


def draw(executor, **settings):
    """One drawn id, its log-probability and the scores that it was drawn from."""
    position, history = settings.pop("position", 5), settings.pop("history", ())
    sampling = SamplingParameters(**settings)
    output = Output(row=4, sampling=sampling, position=position, history=history, n_prompt=min(len(history), 2))
    batch = Batch(
        token_ids=[3, 1, 4, 1, 5],
        positions=[0, 1, 2, 3, 4],
        sequence=[0] * 5,
        block_table=[[1]],
        outputs=[output],
        want_logits=True,
        want_logprobs=True,
        n_top=4,
    )
    result = executor.step(batch)
    return result.sampled[0], result.logprobs[0], result.logits[0].astype(np.float64), result.top[0]


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def test_greedy_takes_the_largest_and_logprobs_are_the_models_own(executor):
    token, logprob, x, top = draw(executor)
    assert token == x.argmax()
    assert logprob == pytest.approx(np.log(softmax(x))[token], abs=1e-4)
    order = np.argsort(-x, kind="stable")[:4]
    assert [id for id, _ in top] == order.tolist()
    np.testing.assert_allclose([value for _, value in top], np.log(softmax(x))[order], atol=1e-4)


def test_draws_follow_the_distribution(executor):
    counts = np.zeros(executor.vocab)
    for position in range(3000):
        token, _, x, _ = draw(executor, temperature=1.5, seed=9, position=position)
        counts[token] += 1
    p = softmax(x / 1.5)
    chi2 = ((counts - 3000 * p) ** 2 / (3000 * p)).sum()
    assert chi2 < executor.vocab + 5 * np.sqrt(2 * executor.vocab)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_top_k_keeps_the_k_largest(executor, k):
    seen = set()
    for position in range(300):
        token, _, x, _ = draw(executor, temperature=5.0, top_k=k, seed=1, position=position)
        seen.add(token)
    assert seen == set(np.argsort(-x, kind="stable")[:k].tolist())


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9])
def test_top_p_keeps_the_smallest_set_that_reaches_p(executor, top_p):
    seen = set()
    for position in range(600):
        token, _, x, _ = draw(executor, temperature=1.0, top_p=top_p, seed=1, position=position)
        seen.add(token)
    p = softmax(x)
    order = np.argsort(-p, kind="stable")
    kept = order[: int(np.searchsorted(np.cumsum(p[order]), top_p) + 1)].tolist()
    assert seen <= set(kept)
    assert kept[0] in seen


def test_min_p_is_relative_to_the_likeliest(executor):
    for position in range(200):
        token, _, x, _ = draw(executor, temperature=1.0, min_p=0.3, seed=2, position=position)
        assert softmax(x)[token] >= 0.3 * softmax(x).max() * (1 - 1e-6)


def test_bias_and_penalties_change_the_choice_and_not_the_logprob(executor):
    token, _, x, _ = draw(executor)
    second = int(np.argsort(-x, kind="stable")[1])
    forced, logprob, _, _ = draw(executor, logit_bias=((second, 1000.0),))
    assert forced == second
    assert logprob == pytest.approx(np.log(softmax(x))[second], abs=1e-2)
    gap = float(x[token] - x[second])
    history = (1, 2, token, token)
    assert draw(executor, presence_penalty=gap + 0.5, history=history)[0] == second
    assert draw(executor, frequency_penalty=gap / 2 + 0.3, history=history)[0] == second
    assert draw(executor, presence_penalty=gap + 0.5, history=(token, 2, 3))[0] == token  # only in the prompt
    if x[token] > 0:
        expected = x.copy()
        expected[token] /= 50.0
        assert draw(executor, repetition_penalty=50.0, history=history)[0] in (expected.argmax(), second)


def test_the_same_seed_and_position_give_the_same_draw(executor):
    draws = [draw(executor, temperature=2.0, seed=s, position=p)[0] for s in (1, 2) for p in range(20)]
    again = [draw(executor, temperature=2.0, seed=s, position=p)[0] for s in (1, 2) for p in range(20)]
    assert draws == again
    assert len(set(draws)) > 5
