"""Packed matrices stand for the values that went in, whatever the shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.core.errors import UserError
from llmos.weights import Groups, bf16_to_float32, float32_to_bf16, pack, pack_into, packed_bytes, unpack, unpack_groups

SHAPES = [(1, 1), (15, 31), (16, 32), (17, 33), (172, 64), (48, 172), (50, 1)]
shapes = st.tuples(st.integers(1, 40), st.integers(1, 100))


def matrix(shape, seed=0, spread=0.0):
    """Normal numbers, each row of its own size."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) * np.exp(rng.normal(0, spread, size=(shape[0], 1)))).astype(np.float32)


def random_groups(shape, format, seed=0):
    rng = np.random.default_rng(seed)
    n, k = shape
    low, high, kind = (-128, 128, np.int8) if format == "int8" else (0, 16, np.uint8)
    scales, minimums = (rng.normal(size=(n, -(-k // 32))).astype(np.float16) for _ in range(2))
    codes = rng.integers(low, high, shape).astype(kind)
    scales[rng.random(scales.shape) < 0.1] = rng.choice(np.float16([0, -0.0]))  # whatever the codes are
    return Groups(codes=codes, scales=scales, minimums=minimums if format == "uint4" else None)


@pytest.mark.parametrize("shape", SHAPES)
def test_float32_is_exact(shape):
    w = matrix(shape)
    np.testing.assert_array_equal(unpack(pack(w, "float32"), *shape, "float32"), w)


@pytest.mark.parametrize("shape", SHAPES)
def test_bf16_keeps_bits_and_rounds_floats(shape):
    w = matrix(shape)
    bits = float32_to_bf16(w)
    np.testing.assert_array_equal(unpack(pack(bits, "bf16"), *shape, "bf16"), bf16_to_float32(bits))
    np.testing.assert_array_equal(pack(bits, "bf16"), pack(w, "bf16"))


@given(shape=shapes, seed=st.integers(0, 99), spread=st.sampled_from([0.0, 5.0]))
def test_float16_keeps_bits_and_rounds_floats(shape, seed, spread):
    w = np.clip(matrix(shape, seed, spread), -65504, 65504)
    halves = w.astype(np.float16)
    np.testing.assert_array_equal(unpack(pack(halves, "float16"), *shape, "float16"), halves.astype(np.float32))
    np.testing.assert_array_equal(pack(halves, "float16"), pack(w, "float16"))
    np.testing.assert_array_equal(pack(halves, "float32"), pack(halves.astype(np.float32), "float32"))


@given(shape=shapes, seed=st.integers(0, 99), format=st.sampled_from(["int8", "int4", "uint4"]))
def test_groups_survive_packing_exactly(shape, seed, format):
    groups = random_groups(shape, format, seed)
    data = pack(groups, format)
    assert len(data) == packed_bytes(*shape, format)
    got = unpack_groups(data, *shape, format)
    kept = np.repeat(groups.scales != 0, 32, axis=1)[:, : shape[1]] if format == "int4" else np.True_
    np.testing.assert_array_equal(got.codes, np.where(kept, groups.codes, 8))  # of int4 there is one code of 0
    np.testing.assert_array_equal(got.scales, groups.scales)
    if format == "uint4":
        np.testing.assert_array_equal(got.minimums, groups.minimums)
    np.testing.assert_array_equal(unpack(data, *shape, format), groups.float32())


@given(seed=st.integers(0, 99), format=st.sampled_from(["int8", "int4", "uint4"]))
def test_a_value_is_its_code_times_scale_plus_minimum(seed, format):
    groups = random_groups((3, 70), format, seed)
    for (n, k), value in np.ndenumerate(groups.float32()):
        code, scale = float(groups.codes[n, k]), float(groups.scales[n, k // 32])
        offset, minimum = (8, 0) if format == "int4" else (0, groups.minimums[n, k // 32] if format == "uint4" else 0)
        assert value == np.float32(np.float32((code - offset) * scale) + np.float32(minimum))


@given(shape=shapes, seed=st.integers(0, 99), format=st.sampled_from(["int8", "int4", "uint4"]))
def test_rows_and_columns_of_padding_are_zero(shape, seed, format):
    n, k = shape
    rows, columns = -(-n // 16) * 16, -(-k // 32) * 32
    for w in (matrix(shape, seed), random_groups(shape, format, seed)):
        padded = unpack_groups(pack(w, format), rows, columns, format)
        assert not padded.float32()[n:].any()
        if format != "uint4":  # there a minimum belongs to the whole group: nothing is multiplied with its tail
            assert not padded.float32()[:, k:].any()
        else:
            assert not padded.codes[:, k:].any()


@pytest.mark.parametrize("shape", SHAPES)
def test_int8_errs_by_half_a_step_of_its_group_at_most(shape):
    w = matrix(shape, spread=3.0)
    groups = unpack_groups(pack(w, "int8"), *shape, "int8")
    scales = np.repeat(groups.scales, 32, axis=1)[:, : shape[1]].astype(np.float64)
    assert (np.abs(groups.float32() - w.astype(np.float64)) <= scales / 2 * (1 + 1e-6)).all()
    for start in range(0, shape[1], 32):
        largest = np.abs(w[:, start : start + 32]).max(1).astype(np.float64)
        steps = scales[:, start]
        below = np.nextafter(steps.astype(np.float16), np.float16(0)).astype(np.float64)
        assert (steps >= largest / 127 * (1 - 1e-7)).all()
        assert (below < largest / 127 * (1 + 1e-7)).all()  # the smallest that clips no code


def test_int8_of_values_below_every_float16_scale():
    w = np.zeros((16, 32), np.float32)
    smallest = np.float32(2**-24)  # the smallest float16
    w[0, :2] = smallest * 2, smallest / 4  # the scale is `smallest`, where largest / 127 would be finer
    w[1, 0] = smallest / 4  # less than half a step: gone
    w[2, 0] = 1e-45
    got = unpack(pack(w, "int8"), 16, 32, "int8")
    assert got[0, 0] == smallest * 2
    assert np.abs(got - w).max() <= smallest / 2
    assert not got[1:].any()


@given(shape=shapes, seed=st.integers(0, 99), format=st.sampled_from(["int4", "uint4"]))
@settings(max_examples=30)
def test_four_bits_choose_better_than_rounding_to_the_extremes(shape, seed, format):
    w = matrix(shape, seed, spread=2.0)
    got = unpack(pack(w, format), *shape, format)
    for start in range(0, shape[1], 32):
        group = w[:, start : start + 32].astype(np.float64)
        weight = group**2 if format == "int4" else np.ones_like(group)
        error = ((got[:, start : start + 32] - group) ** 2 * weight).sum(1)
        if format == "int4":
            extreme = np.take_along_axis(group, np.abs(group).argmax(1, keepdims=True), 1)
            step, low, offset = extreme / -8, -8, 0
        else:
            offset = group.min(1, keepdims=True)
            step, low = (group.max(1, keepdims=True) - offset) / 15, 0
        step = np.where(step == 0, 1, step)
        plain = np.clip(np.rint((group - offset) / step), low, low + 15) * step + offset
        rounding = (2.0**-10 * np.abs(group).max(1)) ** 2 * weight.sum(1)  # of scale and minimum to float16
        assert (error <= ((plain - group) ** 2 * weight).sum(1) * (1 + 1e-3) + rounding + 1e-12).all()


def test_four_bit_errors_are_those_measured():
    w = matrix((256, 1024))
    spread = {f: np.sqrt(((unpack(pack(w, f), *w.shape, f) - w) ** 2).mean()) for f in ("int4", "uint4", "int8")}
    assert 0.070 < spread["uint4"] < 0.073  # least error found by a search over 28 scales: 0.0697
    assert 0.083 < spread["int4"] < 0.085  # ggml's Q4_0: 0.0862
    assert 0.005 < spread["int8"] < 0.006
    off = unpack(pack(w, "int4"), *w.shape, "int4") - w
    assert 0.078 < np.sqrt((off**2 * w**2).sum() / (w**2).sum()) < 0.079  # what int4 minimises; ggml's Q4_0: 0.0849


@pytest.mark.parametrize("format", ["int8", "int4", "uint4"])
@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-38, 1e-20, 6e-8, 1e-6, 1e4])
def test_any_size_of_values_is_stored_within_its_steps(format, size):
    for values in (np.full((2, 40), size), size * np.random.default_rng(0).normal(size=(2, 40))):
        w = values.astype(np.float32)
        span = np.abs(w).max() / {"int8": 127, "int4": 7, "uint4": 5}[format]
        assert np.abs(unpack(pack(w, format), 2, 40, format) - w).max() <= max(span, 2**-22)


def test_the_layouts_are_the_documented_ones():
    w = np.zeros((16, 32), np.float32)
    w[3, 6] = 127.0
    data = pack(w, "int8")
    assert len(data) == packed_bytes(16, 32, "int8") == 544
    assert data[6 // 4 * 64 + 3 * 4 + 6 % 4] == 255
    assert data[512:].view(np.float16)[3] == 1
    assert set(data[:512].tolist()) == {128, 255}
    codes = np.zeros((16, 32), np.uint8)
    codes[3, 6], codes[3, 22] = 5, 9
    scales, minimums = np.arange(1, 17, dtype=np.float16)[:, None], -np.arange(16, dtype=np.float16)[:, None]
    for format, part in (("int4", None), ("uint4", minimums)):
        data = pack(Groups(codes=codes, scales=scales, minimums=part), format)
        assert len(data) == packed_bytes(16, 32, format) == (288 if part is None else 320)
        assert data[6 // 4 * 64 + 3 * 4 + 6 % 4] == 5 + 16 * 9  # columns 6 and 22 share a byte
        assert np.count_nonzero(data[:256]) == 1
        assert data[256:288].view(np.float16).tolist() == list(range(1, 17))
        assert part is None or data[288:].view(np.float16).tolist() == [-i for i in range(16)]
    halves = np.arange(48, dtype=np.float16).reshape(16, 3)
    assert pack(halves, "float16").view(np.float16).reshape(3, 16)[2, 5] == halves[5, 2]


def test_groups_of_another_format_are_rounded_from_their_values():
    groups = random_groups((17, 40), "uint4")
    for format in ("float32", "float16", "bf16", "int8", "int4"):
        np.testing.assert_array_equal(pack(groups, format), pack(groups.float32(), format))


@pytest.mark.parametrize("format", ["int8", "int4", "uint4"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bits", [False, True])
@pytest.mark.parametrize("row", [0, 16, 20])
def test_groups_refuse_what_is_not_finite_and_name_the_tensor(value, bits, row, format):
    w = np.ones((21, 40), np.float32)
    w[row, 39] = value
    w = float32_to_bf16(w) if bits else w
    out = np.empty(packed_bytes(21, 40, format), np.uint8)
    with pytest.raises(UserError, match=f"^row {row} of x holds NaN or infinite values, which {format}"):
        pack_into(out, (21, 40), lambda start, stop: w[start:stop], format, where="row {} of x".format)
    for plain in ("float32", "float16", "bf16"):
        np.testing.assert_array_equal(unpack(pack(w, plain), 21, 40, plain)[row, 39], np.float32(value))


@pytest.mark.parametrize(
    ("format", "most"), [("float16", 65504), ("int8", 127 * 65504), ("int4", 8 * 65504), ("uint4", 65504)]
)
def test_values_beyond_float16_are_refused_and_the_largest_ones_stored(format, most):
    w = np.ones((17, 33), np.float32)
    w[16, 32] = -most
    assert unpack(pack(w, format), 17, 33, format)[16, 32] == pytest.approx(-most, rel=1e-3)
    w[16, 32] = most * 1.01
    with pytest.raises(UserError, match=f"^row 16 of a matrix holds values up to .*; {format} stores .*{most}"):
        pack(w, format)


def test_groups_with_damaged_scales_are_refused():
    groups = random_groups((20, 40), "uint4")
    groups.minimums[17, 1] = np.nan
    with pytest.raises(UserError, match=r"^row 17 of a matrix has scales that are NaN or infinite"):
        pack(groups, "uint4")


def test_every_chunk_of_a_large_matrix_is_checked():
    w = np.ones((140_000, 32), np.float32)
    w[139_999, 0] = np.nan
    with pytest.raises(UserError, match="row 139999"):
        pack(w, "int8")
