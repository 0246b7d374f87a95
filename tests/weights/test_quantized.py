"""Quantised tensors hand out rows as they are stored."""

import numpy as np
import pytest

from llmos.weights import Groups, QuantizedTensor


def stored(groups: Groups) -> QuantizedTensor:
    return QuantizedTensor(
        dtype="q4_0",
        shape=groups.shape,
        where="x.gguf: tensor 'a'",
        keeps=groups.format,
        read_float32=lambda start, stop: groups.rows(start, stop).float32(),
        read_groups=groups.rows,
    )


def test_rows_of_rows_are_those_of_the_tensor():
    rng = np.random.default_rng(0)
    scales = rng.normal(size=(20, 2)).astype(np.float16)
    groups = Groups(codes=rng.integers(0, 16, (20, 40)).astype(np.uint8), scales=scales)
    part = stored(groups).rows(3, 15).rows(2, 9)
    assert part.shape == (7, 40)
    np.testing.assert_array_equal(part.groups().codes, groups.codes[5:12])
    np.testing.assert_array_equal(part.float32(), groups.float32()[5:12])
    with pytest.raises(AssertionError, match="rows 0 to 13"):
        stored(groups).rows(3, 15).rows(0, 13)


def test_a_format_follows_from_codes_and_minimums():
    scales = np.ones((2, 1), np.float16)
    codes = np.zeros((2, 5), np.uint8)
    assert Groups(codes=codes.view(np.int8), scales=scales).format == "int8"
    assert Groups(codes=codes, scales=scales).format == "int4"
    assert Groups(codes=codes, scales=scales, minimums=scales).format == "uint4"
    with pytest.raises(AssertionError, match=r"float16 \(2, 1\)"):
        Groups(codes=np.zeros((2, 33), np.uint8), scales=scales)
