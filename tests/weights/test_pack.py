"""Packed matrices stand for the values that went in, whatever the shape."""

import numpy as np
import pytest

from llmos.core.errors import UserError
from llmos.weights import bf16_to_float32, float32_to_bf16, pack, pack_into, packed_bytes, unpack

SHAPES = [(1, 1), (15, 31), (16, 32), (17, 33), (172, 64), (48, 172), (50, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_float32_is_exact(shape):
    w = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(unpack(pack(w, "float32"), *shape, "float32"), w)


@pytest.mark.parametrize("shape", SHAPES)
def test_bf16_keeps_bits_and_rounds_floats(shape):
    w = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    bits = float32_to_bf16(w)
    np.testing.assert_array_equal(unpack(pack(bits, "bf16"), *shape, "bf16"), bf16_to_float32(bits))
    np.testing.assert_array_equal(pack(bits, "bf16"), pack(w, "bf16"))


@pytest.mark.parametrize("shape", SHAPES)
def test_int8_errs_by_half_a_step_of_its_group_at_most(shape):
    w = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    got = unpack(pack(w, "int8"), *shape, "int8")
    for start in range(0, shape[1], 32):
        group = w[:, start : start + 32].astype(np.float64)
        step = np.abs(group).max(1, keepdims=True) / 127 * (1 + 2**-7)  # a bfloat16 scale, rounded up
        assert (np.abs(got[:, start : start + 32] - group) <= step / 2 + 1e-12).all()


def test_the_layout_is_the_documented_one():
    w = np.zeros((16, 32), np.float32)
    w[3, 6] = 127.0
    data = pack(w, "int8")
    assert len(data) == packed_bytes(16, 32, "int8") == 544
    assert data[6 // 4 * 64 + 3 * 4 + 6 % 4] == 255
    assert np.frombuffer(data[512:].tobytes(), np.uint16)[3] == float32_to_bf16(np.float32([1.0]))[0]
    assert set(data[:512].tolist()) == {128, 255}


def test_zeros_and_rows_beyond_the_end_are_zero():
    assert not unpack(pack(np.zeros((5, 40), np.float32), "int8"), 16, 40, "int8").any()
    assert not unpack(pack(np.ones((5, 40), np.float32), "int8"), 16, 40, "int8")[5:].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bits", [False, True])
@pytest.mark.parametrize("row", [0, 16, 20])
def test_int8_refuses_what_is_not_finite_and_names_the_tensor(value, bits, row):
    w = np.ones((21, 40), np.float32)
    w[row, 39] = value
    w = float32_to_bf16(w) if bits else w
    out = np.empty(packed_bytes(21, 40, "int8"), np.uint8)
    with pytest.raises(UserError, match=f"^row {row} of x holds NaN or infinite values"):
        pack_into(out, (21, 40), lambda start, stop: w[start:stop], "int8", where="row {} of x".format)
    for format in ("float32", "bf16"):
        np.testing.assert_array_equal(unpack(pack(w, format), 21, 40, format)[row, 39], np.float32(value))


def test_every_chunk_of_a_large_matrix_is_checked():
    w = np.ones((140_000, 32), np.float32)
    w[139_999, 0] = np.nan
    with pytest.raises(UserError, match="row 139999"):
        pack(w, "int8")
