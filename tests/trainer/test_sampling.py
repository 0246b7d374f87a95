"""The order of the training data is a function of (seed, sample) alone and covers everything."""

from itertools import pairwise

import numpy as np
import pytest

from llmos.trainer.recipe import Schedule
from llmos.trainer.sampling import Sampler
from llmos.trainer.schedule import rate


def sampler(seed=1, length=8):
    return Sampler([np.arange(1000, dtype="<u2"), np.arange(2000, 2500, dtype="<u2")], [3.0, 1.0], length, seed)


def test_two_samplers_agree_in_any_order():
    first, second = sampler(), sampler()
    later = [second.window(i) for i in reversed(range(3000))][::-1]
    assert all(np.array_equal(first.window(i), later[i]) for i in range(3000))


def test_sources_are_met_by_weight():
    s = sampler()
    assert sum(s.window(i)[0] < 2000 for i in range(1024)) == 768


def test_every_window_is_seen_once_before_any_repeats():
    s = sampler()
    starts = [int(w[0]) for w in (s.window(i) for i in range(1024)) if w[0] < 2000]
    n_windows = (1000 - 1 - 8) // 8
    assert len(set(starts[:n_windows])) == n_windows


def test_accumulated_parts_make_up_the_whole_batch():
    s = sampler()
    whole = s.batch(5, 0, 8, 1)
    assert np.array_equal(whole, np.concatenate([s.batch(5, part, 2, 4) for part in range(4)]))


def test_a_source_too_short_for_a_window_is_refused():
    with pytest.raises(ValueError, match="too few"):
        Sampler([np.arange(10)], [1.0], 8, 0)


def test_the_rate_warms_up_stays_and_decays_to_the_final_share():
    wsd = Schedule(kind="wsd", steps=100, warmup_steps=10, decay_steps=20, final=0.1)
    rates = [rate(wsd, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:80] == [1.0] * 70
    assert rates[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(rates[80:]))
    cosine = Schedule(kind="cosine", steps=100, warmup_steps=0)
    assert rate(cosine, 0) == 1.0
    assert rate(cosine, 50) == pytest.approx(0.5)
    assert rate(cosine, 100) == pytest.approx(0.0)
