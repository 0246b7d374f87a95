"""Formulas of time over roofs and kernels that are given: each number can be derived by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.plan import Kernels, Operation, Roofs, Step, bound_s, decode_step, pace, predicted_s, prompt_steps
from llmos.weights import packed_bytes

NS = 1e-9
KERNELS = Kernels(
    weights="bf16",
    kv="bf16",
    threads=2,
    batch=1,
    cached={(1024, 1): 1 * NS, (1024, 256): 52 * NS, (4096, 1): 2 * NS, (4096, 256): 104 * NS},
    memory={(1024, 1): 5 * NS, (1024, 8): 6 * NS},
    kept={500: 1.0, 1000: 0.0},
    stored_s=0.1 * NS,
    page_s={64: 200 * NS, 128: 350 * NS},
    query_s={64: 50 * NS, 128: 90 * NS},
    append={64: 100 * NS, 128: 200 * NS},
    row_s={"norm": 0.5 * NS, "act": 1 * NS, "quantize": 2 * NS, "draw": 4 * NS},
    join_s=1000 * NS,
    decode_s=20_000 * NS,
    prompt_s=50_000 * NS,
)
ROOFS = Roofs(
    target="portable",
    threads=2,
    read_bytes_per_s=1e9,
    float32_ops_per_s=1e9,
    bf16_ops_per_s=2e9,
    int8_ops_per_s=8e9,
)
PRODUCT = Operation(
    block="kind0", times=3, op="linear", kind="product", rows="T", width=160, shapes=((160, 1024),), formats=("bf16",)
)
ATTENTION = Operation(
    block="kind0",
    times=3,
    op="append_attend",
    kind="attention",
    rows="T",
    width=256,
    heads=4,
    kv_heads=2,
    head_dim=64,
    kv_page_bytes=16_384,
    joins=2,
)
NORM = Operation(block="kind0", times=3, op="rms_norm", kind="rows", rows="T", width=1024)
EXPERTS = replace(
    PRODUCT,
    op="experts",
    kind="experts",
    shapes=((64, 96), (32, 64)),
    formats=("bf16", "bf16"),
    count=8,
    per_token=2,
    joins=22,
)
HEAD = replace(PRODUCT, block="epilogue", times=1, rows="O", shapes=((5000, 1024),))
ALL = [PRODUCT, ATTENTION, NORM, EXPERTS, HEAD]


def test_an_operation_cannot_be_faster_than_its_bytes_or_its_arithmetic():
    n_bytes, work = packed_bytes(160, 1024, "bf16"), 2 * 160 * 1024
    assert bound_s(PRODUCT, decode_step(1, 1), ROOFS) == pytest.approx(n_bytes / 1e9)
    assert bound_s(PRODUCT, decode_step(1, 50), ROOFS) == pytest.approx(50 * work / 2e9)


def test_attention_is_computed_in_the_format_of_keys_and_values():
    step, work = decode_step(40, 2), 2 * 4 * 40 * 4 * 64
    assert ATTENTION.arithmetic(step) == [("float32", work)]
    assert replace(ATTENTION, stored="bf16").arithmetic(step) == [("bf16", work)]
    assert replace(ATTENTION, stored="int8").arithmetic(step) == [("float32", work)]


def test_a_product_takes_the_measured_time_of_its_bytes_and_a_join():
    n_bytes = packed_bytes(160, 1024, "bf16")
    assert predicted_s(PRODUCT, decode_step(1, 1), KERNELS, 1.0) == pytest.approx(n_bytes * 1 * NS + 1000 * NS)
    assert predicted_s(PRODUCT, decode_step(1, 1), KERNELS, 0.0) == pytest.approx(n_bytes * 5 * NS + 1000 * NS)
    assert predicted_s(PRODUCT, Step(tokens=256, outputs=0, attended=1), KERNELS, 1.0) == pytest.approx(
        n_bytes * 52 * NS + 1000 * NS
    )


def test_between_measured_sizes_lies_a_straight_line():
    assert KERNELS.product_s(1, 2560, 1, 1.0) == pytest.approx(1.5 * NS)
    assert KERNELS.product_s(1, 1024, 52, 1.0) == pytest.approx((1 + 51 * 51 / 255) * NS)
    assert KERNELS.product_s(1, 16, 1, 1.0) == pytest.approx(1 * NS)
    assert KERNELS.attention_s(96, 3) == pytest.approx((3 * 275 + 70) * NS)
    assert KERNELS.append_s(96) == pytest.approx(150 * NS)
    assert KERNELS.attention_s(256, 2) == pytest.approx((2 * 650 + 170) * NS)
    assert 0 < KERNELS.attention_s(8, 1) < KERNELS.attention_s(64, 1)


def test_what_is_larger_than_the_cache_comes_from_memory():
    assert [KERNELS.in_cache(n) for n in (10, 500, 750, 1000, 10**9)] == [1, 1, 0.5, 0, 0]


def test_attention_reads_pages_of_every_sequence_up_to_its_window():
    step = decode_step(320, 4)
    assert ATTENTION.n_bytes(step) == 4 * 320 * 16_384 / 32
    assert replace(ATTENTION, window=64).n_bytes(step) == 4 * 64 * 16_384 / 32
    assert ATTENTION.operations(step) == 4 * 4 * 320 * 4 * 64


@pytest.mark.parametrize(("tokens", "matrices"), [(1, 2.0), (2, 3.5), (1000, 8.0)])
def test_few_tokens_read_few_experts(tokens: int, matrices: float):
    assert EXPERTS.n_matrices(decode_step(1, tokens)) == pytest.approx(matrices)
    assert EXPERTS.operations(decode_step(1, tokens)) == tokens * 2 * 2 * (64 * 96 + 32 * 64)


@given(prompt=st.integers(1, 3000), batch=st.integers(1, 20))
def test_the_steps_of_prompts_read_every_token_once_and_end_each_prompt(prompt: int, batch: int):
    steps = prompt_steps(prompt, batch)
    assert sum(step.tokens for step in steps) == prompt * batch
    assert sum(step.outputs for step in steps) == batch
    assert all(1 <= step.tokens <= 256 and 0 < step.attended <= prompt for step in steps)


@given(
    prompt=st.integers(1, 2000),
    more=st.integers(1, 2000),
    batch=st.integers(1, 16),
    slower=st.sampled_from(["join_s", "decode_s", "prompt_s"]),
)
def test_longer_contexts_and_slower_machines_are_never_faster(prompt: int, more: int, batch: int, slower: str):
    def at(context: int, kernels: Kernels = KERNELS):
        return pace(ALL, ROOFS, kernels, prompt=prompt, context=context, batch=batch, vocab=5000)

    short, long = at(prompt + 1), at(prompt + 1 + more)
    assert long.decode_tokens_per_s <= short.decode_tokens_per_s
    slowed = at(prompt + 1, replace(KERNELS, **{slower: 10 * getattr(KERNELS, slower)}))
    assert slowed.decode_tokens_per_s <= short.decode_tokens_per_s
    assert slowed.prefill_tokens_per_s <= short.prefill_tokens_per_s


def test_what_bounds_is_told():
    def bounds(kernels: Kernels, roofs: Roofs):
        found = pace([PRODUCT], roofs, kernels, prompt=512, context=600, batch=1, vocab=10)
        return found.prefill_bound, found.decode_bound

    # 1e9 operations and bytes a second are what the bounds are of; the kernels are made to take about that
    exact = replace(KERNELS, join_s=0, decode_s=0, prompt_s=0, memory={(1024, 1): 1 * NS, (1024, 8): 1 * NS})
    assert bounds(exact, replace(ROOFS, bf16_ops_per_s=5e9)) == ("compute", "memory")
    assert bounds(replace(exact, decode_s=1.0), replace(ROOFS, bf16_ops_per_s=5e9)) == ("compute", "waiting")
