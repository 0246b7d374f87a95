"""Compiled code packs weights to the bytes that `weights.pack` defines."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmos.core.errors import UserError
from llmos.runtime import native_packer
from llmos.weights import float32_to_bf16, pack, pack_into, packed_bytes
from tests.tiny_programs import random_program
from tests.weights.test_pack import random_groups

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module", params=["portable", None], ids=["portable", "best"])
def pack_rows(request):
    return native_packer(random_program("float32", "float32", request.param).library)


FORMATS = ["float32", "float16", "bf16", "int8", "int4", "uint4"]
STORED = {"float32": lambda w: w, "bf16": float32_to_bf16, "float16": lambda w: w.astype(np.float16)}


def packed(pack_rows, rows, format):
    """What compiled code makes of rows; nothing is left to numpy."""
    out = np.full(packed_bytes(*rows.shape, format), 7, np.uint8)
    assert pack_rows(rows, out, format)
    return out


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("shape", [(1, 1), (15, 31), (17, 33), (172, 64), (50, 895)])
def test_the_bytes_are_those_of_the_definition(pack_rows, shape, stored, format):
    rng = np.random.default_rng(3)
    sizes = np.exp(rng.normal(-5, 9, size=(shape[0], 1)))
    w = np.clip(rng.normal(size=shape) * sizes + 0.3 * sizes, -65000, 65000).astype(np.float32)
    w = STORED[stored](w)
    np.testing.assert_array_equal(packed(pack_rows, w, format), pack(w, format))


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bits_are_packed_or_refused_as_the_definition_does(pack_rows, format, data):
    n, k = data.draw(st.tuples(st.integers(1, 18), st.integers(1, 70)))
    seed, kind = data.draw(st.tuples(st.integers(0, 2**32 - 1), st.sampled_from(["any", "few", "halves"])))
    rng = np.random.default_rng(seed)
    w = rng.integers(0, 2**32, (n, k), np.uint32).view(np.float32)
    if kind == "few":  # ties, zeros of both signs, equal values, sizes where scales are subnormal
        w = rng.choice(np.float32([0, -0.0, 1, -1, 0.5, 2**-24, -(2**-23), 3e-8, 1e-40, 7]), (n, k))
    if kind == "halves":
        w = rng.integers(0, 0x7C00, (n, k), np.uint16).view(np.float16) * rng.choice(np.float16([1, -1]), (n, k))
    if w.dtype == np.float32:
        w[np.isnan(w)] = np.nan  # with a payload of its own, which bits it keeps is the processor's choice
    out = np.empty(packed_bytes(n, k, format), np.uint8)
    try:
        expected = pack(w, format)
    except UserError:
        assert not pack_rows(w, out, format)
    else:
        np.testing.assert_array_equal(packed(pack_rows, w, format), expected)


@pytest.mark.parametrize("shape", [(1, 1), (15, 31), (17, 33), (172, 64)])
@pytest.mark.parametrize("format", ["int8", "int4", "uint4"])
def test_groups_are_packed_to_the_bytes_of_the_definition(pack_rows, shape, format):
    groups = random_groups(shape, format)
    np.testing.assert_array_equal(packed(pack_rows, groups, format), pack(groups, format))
    out = np.empty(packed_bytes(*shape, "bf16"), np.uint8)
    pack_into(out, shape, groups.rows, "bf16", pack_rows=pack_rows)
    np.testing.assert_array_equal(out, pack(groups.float32(), "bf16"))


def test_a_transposed_matrix_is_packed_as_it_reads(pack_rows):
    w = np.random.default_rng(4).normal(size=(40, 30)).astype(np.float32).T
    out = np.empty(packed_bytes(30, 40, "int8"), np.uint8)
    pack_into(out, (30, 40), lambda start, stop: w[start:stop], "int8", pack_rows=pack_rows)
    np.testing.assert_array_equal(out, pack(w, "int8"))


def test_what_int8_cannot_store_is_refused_with_its_place(pack_rows):
    w = np.ones((21, 40), np.float32)
    w[19, 3] = np.nan
    out = np.empty(packed_bytes(21, 40, "int8"), np.uint8)
    with pytest.raises(UserError, match=r"^row 19 of x holds NaN or infinite values"):
        pack_into(out, (21, 40), lambda a, b: w[a:b], "int8", "row {} of x".format, pack_rows)


def test_damaged_scales_of_groups_are_refused_with_their_place(pack_rows):
    groups = random_groups((21, 40), "int4")
    groups.scales[19, 1] = np.inf
    out = np.empty(packed_bytes(21, 40, "int4"), np.uint8)
    with pytest.raises(UserError, match=r"^row 19 of x has scales that are NaN or infinite"):
        pack_into(out, (21, 40), groups.rows, "int4", "row {} of x".format, pack_rows)
