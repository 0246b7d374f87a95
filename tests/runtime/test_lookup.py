"""Guesses come from the latest place where the last ids stood before, and their chances from how often they were right."""

from hypothesis import given
from hypothesis import strategies as st

from llmos.runtime.lookup import Lookup


def after(ids: list[int], steps: int = 1) -> Lookup:
    """A lookup that took ids in, the last ones one by one."""
    given = ids[: len(ids) - steps]
    lookup = Lookup(given)
    lookup.follow()
    for id in ids[len(ids) - steps :]:
        given.append(id)
        lookup.follow()
    return lookup


def test_what_followed_before_is_guessed_again():
    assert after([1, 2, 3, 4, 5, 9, 1, 2]).guess(3) == [3, 4, 5]
    assert after([1, 2, 3, 1, 2, 4, 8, 9, 1, 2]).guess(2) == [4, 8]
    assert after([1, 2, 3, 4, 5]).guess(3) == []


def test_four_ids_say_more_than_the_latest_two():
    assert after([7, 8, 1, 2, 3, 0, 1, 2, 5, 0, 7, 8, 1, 2]).guess(1) == [3]


def test_what_repeats_is_guessed_on_and_on():
    assert after([9, 1, 2, 1, 2, 1, 2]).guess(5) == [1, 2, 1, 2, 1]


def test_a_place_is_followed_and_given_up_where_it_is_wrong():
    text = list(range(20, 40))
    lookup = after([*text, 0, *text[:9]], steps=8)
    assert lookup.guess(3) == text[9:12]
    assert lookup.agreeing == 9
    lookup = after([*text, 0, *text[:9], 99], steps=8)
    assert lookup.guess(3) == []


@given(ids=st.lists(st.integers(0, 3), min_size=1, max_size=60), steps=st.integers(0, 60))
def test_it_does_not_matter_how_the_ids_came(ids, steps):
    """The index is the same however many ids came at a time, and a guess continues an earlier occurrence of the last ids."""
    lookup, whole = after(ids, min(steps, len(ids) - 1)), after(ids, 0)
    assert lookup._behind == whole._behind
    guess = lookup.guess(4)
    assert bool(guess) == (lookup.place is not None)
    if guess:
        last = ids[len(ids) - min(lookup.agreeing, lookup.place) :]
        assert ids[lookup.place - len(last) : lookup.place] == last
        assert guess[0] == ids[lookup.place]
        assert len(guess) == 4


def test_chances_follow_what_was_seen():
    right, wrong = after([1, 2, 3] * 40, steps=100), after([x for i in range(40) for x in (1, 2, 100 + i)], steps=100)
    assert right.chances(7)[-1] > 0.8
    wrong.place, wrong.agreeing = 2, 2
    assert wrong.chances(1)[0] < 0.05
    falling = right.chances(7)
    assert falling == sorted(falling, reverse=True)
