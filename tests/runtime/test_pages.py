"""The page pool loses nothing and shares only what is meant to be shared."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.runtime import PagePool
from llmos.runtime.abi import PAGE_TOKENS


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["admit", "append", "publish", "free"]), st.integers(0, 5)), max_size=80))
def test_random_use_leaks_nothing(actions):
    pool, live = PagePool(12), {}
    for action, who in actions:
        if action == "admit" and who not in live:
            ids = [who % 2] * (PAGE_TOKENS * 3 + who)
            live[who] = [ids, pool.match(ids)]
        elif action == "append" and who in live and len(live[who][1]) < 4:
            page = pool.allocate()
            if page is not None:
                assert all(page not in pages for _, pages in live.values())
                live[who][1].append(page)
        elif action == "publish" and who in live:
            ids, pages = live[who]
            pool.publish(ids, pages[:3], 0)
        elif action == "free" and who in live:
            pool.release(live.pop(who)[1])
        pool.check([pages for _, pages in live.values()])
    for _, pages in live.values():
        pool.release(pages)
    pool.check([])
    assert pool.n_available == 12


def test_a_prefix_is_found_again_but_never_the_last_token():
    pool = PagePool(4)
    ids = list(range(2 * PAGE_TOKENS))
    pages = [pool.allocate(), pool.allocate()]
    pool.publish(ids, pages, 0)
    pool.release(pages)
    assert pool.match(ids) == pages[:1]
    assert pool.match([*ids, 7]) == pages
    assert pool.match([9, *ids]) == []


def test_idle_pages_are_taken_oldest_first_and_forgotten():
    pool = PagePool(2)
    for token in (1, 2):
        page = pool.allocate()
        pool.publish([token] * PAGE_TOKENS, [page], 0)
        pool.release([page])
    pool.allocate()
    assert pool.match([1] * (PAGE_TOKENS + 1)) == []
    assert len(pool.match([2] * (PAGE_TOKENS + 1))) == 1
    assert pool.allocate() is None


def test_releasing_twice_is_noticed():
    pool = PagePool(1)
    page = pool.allocate()
    pool.release([page])
    with pytest.raises(AssertionError, match="more often than held"):
        pool.release([page])


def test_long_histories_are_found_without_deep_recursion():
    pool = PagePool(1300)
    ids = [i % 7 for i in range(1250 * PAGE_TOKENS)]
    pages = [pool.allocate() for _ in range(1250)]
    pool.publish(ids, pages, 0)
    pool.release(pages)
    assert pool.match([*ids, 1]) == pages
