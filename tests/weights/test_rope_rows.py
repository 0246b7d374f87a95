"""Rows of heads that are stored as neighbours, for plain and for quantised tensors."""

import gguf
import numpy as np
import pytest

from llmos.weights.gguf.tensor import stored_tensor
from llmos.weights.quantized import widened
from llmos.weights.rope_rows import half_apart
from llmos.weights.tensor import Tensor
from tests.gguf_files import dequantised, random_rows

HEADS, SIZE = 3, 10


def expected(rows: np.ndarray) -> np.ndarray:
    """By hand: of each head the even rows, then the odd ones."""
    order = [head * SIZE + i for head in range(HEADS) for i in (*range(0, SIZE, 2), *range(1, SIZE, 2))]
    return rows[order]


def test_rows_and_biases_of_plain_tensors_move():
    for shape in ((HEADS * SIZE, 7), (HEADS * SIZE,)):
        data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        moved = half_apart(Tensor("float32", data), HEADS)
        assert np.array_equal(moved.float32(), expected(data))


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_K", "Q6_K"])
def test_rows_of_quantised_tensors_move_with_their_codes(kind):
    rows, type = random_rows(kind, HEADS * SIZE, 256)
    tensor = stored_tensor(gguf.GGMLQuantizationType[kind], rows.reshape(-1), (HEADS * SIZE, 256), "w")
    moved, wanted = half_apart(tensor, HEADS), expected(dequantised((rows, type)))
    assert np.array_equal(moved.float32(), wanted)
    for start, stop in ((0, 30), (3, 4), (7, 25), (12, 12)):
        part = moved.rows(start, stop)
        assert np.array_equal(part.float32(), wanted[start:stop])
        for format in part.formats:
            groups = widened(part, format).groups()
            assert groups.format == format
            np.testing.assert_allclose(groups.float32(), wanted[start:stop], atol=2e-3 if kind == "Q4_K" else 0)
