"""Times of steps: a hope before anything is known, the truth soon after, and no disturbed step that is believed for long."""

import random

import pytest

from llmos.runtime.drafting import Drafter
from llmos.runtime.step_times import StepTimes


def test_rows_that_were_not_met_lie_between_those_that_were():
    times = StepTimes()
    for _ in range(3):
        times.note(1, 1.0)
        times.note(9, 3.0)
    assert times.seconds(1) == 1.0
    assert times.seconds(5) == pytest.approx(2.0)
    assert times.seconds(9) == 3.0
    assert times.seconds(12) > 3.0
    assert not times.known(5)


def test_a_disturbed_first_step_is_not_believed():
    times = StepTimes()
    for seconds in (1.0, 1.0, 1.0):
        times.note(1, seconds)
    times.note(8, 40.0)
    assert times.seconds(8) < 3
    for seconds in (2.2, 2.1):
        times.note(8, seconds)
    assert times.seconds(8) == 2.1


def test_estimates_follow_a_machine_that_slows_down():
    times, noise = StepTimes(), random.Random(0)
    for _ in range(200):
        times.note(1, noise.uniform(0.9, 1.1) * (20 if noise.random() < 0.05 else 1))
    assert times.seconds(1) == pytest.approx(1.0, rel=0.12)
    for _ in range(200):
        times.note(1, noise.uniform(1.8, 2.2))
    assert times.seconds(1) == pytest.approx(2.0, rel=0.12)


def paying(seconds_of, chances: list[float], steps: int = 40) -> int:
    """Drafts that are made of a guess after some steps on a machine whose steps take so long by rows."""
    drafter = Drafter()
    for _ in range(steps):
        n = drafter._paying(1, chances)
        drafter._times.note(1 + n, seconds_of(1 + n))
        drafter._times.note(1, seconds_of(1))
    return drafter._paying(1, chances)


def test_as_many_drafts_as_pay_are_made():
    sure = [0.99**n for n in range(1, 8)]
    assert paying(lambda rows: 1 + 0.15 * (rows - 1), sure) == 7
    assert paying(lambda rows: 1 + 0.15 * (rows - 1), [0.5, 0.1]) == 1
    assert paying(lambda rows: 1 + 0.15 * (rows - 1), [0.1, 0.01]) == 0
    assert paying(lambda rows: float(rows), sure) == 0


def test_on_a_machine_where_no_draft_pays_few_are_tried():
    drafter, tried = Drafter(), 0
    for _ in range(2000):
        n = drafter._paying(1, [0.99**n for n in range(1, 8)]) if drafter._times.known(1) else 0
        drafter._times.note(1 + n, 1.2 * (1 + n))
        drafter._times.note(1, 1.0)
        tried += n > 0
    assert tried < 20
