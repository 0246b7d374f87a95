"""Compiled code packs weights to the bytes that `weights.pack` defines."""

import numpy as np
import pytest

from llmos.core.errors import UserError
from llmos.runtime import native_packer
from llmos.weights import float32_to_bf16, pack, pack_into, packed_bytes
from tests.tiny_programs import random_program

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module", params=["portable", None], ids=["portable", "best"])
def pack_rows(request):
    return native_packer(random_program("float32", "float32", request.param).library)


@pytest.mark.parametrize("format", ["float32", "bf16", "int8"])
@pytest.mark.parametrize("bits", [False, True], ids=["from float32", "from bf16"])
@pytest.mark.parametrize("shape", [(1, 1), (15, 31), (17, 33), (172, 64), (50, 895)])
def test_the_bytes_are_those_of_the_definition(pack_rows, shape, bits, format):
    rng = np.random.default_rng(3)
    w = (rng.normal(size=shape) * np.exp(rng.normal(0, 20, size=(shape[0], 1)))).astype(np.float32)
    w = float32_to_bf16(w) if bits else w
    out = np.full(packed_bytes(*shape, format), 7, np.uint8)
    pack_into(out, shape, lambda start, stop: w[start:stop], format, pack_rows=pack_rows)
    np.testing.assert_array_equal(out, pack(w, format))


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
