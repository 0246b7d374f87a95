"""The numbers of GGUF tensors, held to the bit to those of the `gguf` package."""

import gguf
import numpy as np
import pytest

from llmos.core.errors import FormatError
from llmos.weights.gguf.blocks import BLOCKS
from llmos.weights.gguf.groups import HELD_BY
from llmos.weights.gguf.tensor import stored_tensor
from llmos.weights.quantized import QuantizedTensor, widened
from tests.gguf_files import KINDS, Quantised, dequantised, random_rows


def stored(rows: Quantised) -> QuantizedTensor:
    data, type = rows
    values, n_bytes = gguf.GGML_QUANT_SIZES[type]
    shape = (len(data), data.shape[1] // n_bytes * values)
    tensor = stored_tensor(int(type), data.reshape(-1), shape, "x.gguf: tensor 'w'")
    assert isinstance(tensor, QuantizedTensor)
    return tensor


def test_every_type_of_the_documentation_is_known():
    assert {type.name for type in BLOCKS.values()} == set(KINDS)
    for number, type in BLOCKS.items():
        assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(number)] == (type.values, type.n_bytes)


@pytest.mark.parametrize("kind", KINDS)
def test_any_bytes_give_the_numbers_of_the_package(kind):
    """Random bytes have every scale that there is: zeros of both signs, subnormal, largest, infinite and NaN."""
    type = gguf.GGMLQuantizationType[kind]
    _, n_bytes = gguf.GGML_QUANT_SIZES[type]
    rows = np.random.default_rng(1).integers(0, 256, (9, 800 * n_bytes), dtype=np.uint8)
    ours, theirs = stored((rows, type)).float32(), dequantised((rows, type))
    is_nan = np.isnan(theirs)
    assert np.array_equal(np.isnan(ours), is_nan)
    assert np.array_equal(ours.view(np.uint32)[~is_nan], theirs.view(np.uint32)[~is_nan])
    assert is_nan.any() and not is_nan.all()


@pytest.mark.parametrize("kind", KINDS)
def test_some_rows_are_those_of_all(kind):
    rows = random_rows(kind, 21, 512)
    part = stored(rows).rows(3, 20).rows(1, 9)
    assert part.shape == (8, 512)
    assert np.array_equal(part.float32(), dequantised(rows)[4:12])


def test_rows_are_decoded_in_pieces(monkeypatch):
    monkeypatch.setattr("llmos.weights.gguf.tensor._CHUNK_VALUES", 1000)
    rows = random_rows("Q5_K", 7, 512)
    assert np.array_equal(stored(rows).float32(), dequantised(rows))


EXACT = [(kind, format) for kind, (format, _) in HELD_BY.items() if kind != "Q4_K"]
EXACT += [("Q4_0", "uint4"), ("Q4_0", "int8")]


@pytest.mark.parametrize(("kind", "format"), EXACT)
def test_groups_stand_for_exactly_the_stored_values(kind, format):
    rows = random_rows(kind, 12, 256)
    tensor = widened(stored(rows), format)
    assert tensor.keeps == format
    assert np.array_equal(tensor.rows(2, 11).groups().float32(), dequantised(rows)[2:11])


def test_groups_of_q4_k_round_only_the_scales():
    rows = random_rows("Q4_K", 12, 512)
    groups, values = stored(rows).groups(), dequantised(rows)
    assert groups.format == "uint4"
    largest = np.abs(groups.scales.astype(np.float32)) * 15 + np.abs(groups.minimums.astype(np.float32))
    error = np.abs(groups.float32() - values).reshape(12, -1, 32).max(2)
    assert (error <= largest * 2**-11 + 2**-24).all()
    assert error.max() > 0


def test_what_no_format_holds_says_so():
    for kind in ("Q2_K", "Q3_K", "Q5_1", "Q5_K", "Q6_K"):
        assert widened(stored(random_rows(kind, 1, 256)), "int8").keeps is None
    assert widened(stored(random_rows("Q8_0", 1, 256)), "int4").keeps == "int8"
    assert stored(random_rows("Q4_0", 1, 256)).formats == ("int4", "uint4", "int8")


def test_scales_that_are_no_numbers_are_refused_by_name():
    rows, type = random_rows("Q4_0", 3, 64)
    rows[1, :2] = np.array([np.inf], np.float16).view(np.uint8)
    with pytest.raises(FormatError, match=r"tensor 'w'.*NaN or infinite"):
        stored((rows, type)).groups()
