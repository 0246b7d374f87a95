"""Formulas of memory: what they add up, and that more of anything never takes less."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.api import verify
from llmos.plan import PAGE_TOKENS, Sizes, compiling, context_bytes, largest, pool_pages, running, workspace_bytes
from llmos.plan.running import VERIFIED_ROWS, VERIFIED_TOKENS
from llmos.runtime import abi

MIB = 2**20
SIZES = Sizes(
    weights=40 * MIB, source=30 * MIB, converted=0, page=64 * 1024, rope=256, token=30_000, output=140_000, vocab=32_000
)
HELD = {"held_bytes": 0, "threads": 2}
SETTINGS = {"held_bytes": 100 * MIB, "context": 512, "batch": 1, "threads": 2}


def test_a_page_has_as_many_tokens_as_the_step_abi_says():
    assert PAGE_TOKENS == abi.PAGE_TOKENS
    assert (VERIFIED_TOKENS, VERIFIED_ROWS) == (verify._TOKENS, verify._ROWS)


def test_while_loading_checkpoint_and_packed_weights_are_both_there():
    footprint = running(SIZES, **SETTINGS)
    assert footprint.peak.name == "loading"
    assert footprint.peak_bytes == (100 + 40 + 30) * MIB + 512 * 256


def test_files_that_are_mapped_need_no_free_memory():
    with_map, without = (running(replace(SIZES, source=n), **SETTINGS) for n in (100 * MIB, 0))
    assert with_map.peak_bytes > without.peak_bytes + 50 * MIB
    assert with_map.needed_bytes == without.needed_bytes


def test_of_a_large_checkpoint_only_what_is_being_packed_is_there():
    small, large = (running(replace(SIZES, source=n * MIB), **SETTINGS).peak_bytes for n in (104, 14_000))
    assert small == large
    assert compiling(replace(SIZES, weights=4000 * MIB, source=14_000 * MIB), **HELD).needed_bytes < 300 * MIB


def test_comparing_the_scores_of_a_large_vocabulary_takes_more_than_packing():
    small, large = (compiling(replace(SIZES, vocab=n), **HELD) for n in (1000, 256_000))
    assert small.tightest.name == "compiling"
    assert large.tightest.name.startswith("verifying")
    assert large.needed_bytes > 2 * 128 * 4 * 256_000


def test_what_is_packed_into_a_file_first_is_not_there_twice():
    both, streamed = (running(replace(SIZES, streamed=on), **SETTINGS) for on in (False, True))
    loading = next(phase for phase in streamed.phases if phase.name == "loading")
    assert "weights" not in {part.name for part in loading.parts}
    assert streamed.peak_bytes < both.peak_bytes
    assert "weights" in {part.name for phase in streamed.phases if phase.name == "running" for part in phase.parts}


def test_mapped_weights_need_no_free_memory():
    fast, mapped = (running(replace(SIZES, source=0), **SETTINGS, mapped=on) for on in (False, True))
    assert fast.needed_bytes - mapped.needed_bytes == SIZES.weights
    assert mapped.peak_bytes == fast.peak_bytes  # they are told all the same: in use, their pages are there


def test_what_is_needed_is_all_that_is_set_aside():
    needed = running(SIZES, **SETTINGS).needed_bytes
    assert needed >= SIZES.weights + workspace_bytes(SIZES) + context_bytes(SIZES, 512) + 512 * SIZES.rope


def test_a_process_that_serves_comes_to_use_its_whole_pool():
    alone = running(replace(SIZES, source=0), **SETTINGS)
    serving = running(replace(SIZES, source=0), **SETTINGS, pool_bytes=80 * MIB)
    assert serving.peak_bytes - alone.peak_bytes == (80 - 2) * MIB


@pytest.mark.parametrize("threads", [1, 3])
def test_values_that_must_be_converted_take_a_buffer_per_thread(threads: int):
    sizes = replace(SIZES, converted=200 * MIB)
    more = compiling(sizes, held_bytes=0, threads=threads).needed_bytes
    assert more - compiling(replace(sizes, weights=0), held_bytes=0, threads=threads).needed_bytes <= 40 * MIB
    loading = next(p for p in running(sizes, **SETTINGS | {"threads": threads}).phases if p.name == "loading")
    assert {part.name: part.n_bytes for part in loading.parts}["conversion"] == threads * 16 * MIB


@given(
    field=st.sampled_from([*Sizes.__dataclass_fields__, "context", "batch", "threads", "held_bytes"]),
    factor=st.integers(1, 50),
    pool=st.none() | st.integers(0, 2**30),
)
def test_more_of_anything_never_takes_less(field: str, factor: int, pool: int | None):
    sizes, settings_ = SIZES, dict(SETTINGS)
    if field in settings_:
        settings_[field] *= factor
    else:
        sizes = replace(sizes, **{field: getattr(sizes, field) * factor})
    more, less = running(sizes, **settings_, pool_bytes=pool), running(SIZES, **SETTINGS, pool_bytes=pool)
    assert more.peak_bytes >= less.peak_bytes
    assert more.needed_bytes >= less.needed_bytes


@given(limit=st.integers(0, 300), most=st.integers(0, 200))
def test_the_largest_that_fits_is_found(limit: int, most: int):
    assert largest(lambda n: n <= limit, most) == min(limit, most)


@pytest.mark.parametrize(
    ("free_bytes", "batch", "expected"),
    [(10**9, None, 40), (10**9, 7, 70), (0, None, 10), (25 * 4 * 1000, None, 25), (0, 2, 20)],
)
def test_the_pool_holds_four_contexts_or_what_a_quarter_of_the_memory_holds(free_bytes, batch, expected):
    assert pool_pages(10, 1000, free_bytes, batch) == expected
