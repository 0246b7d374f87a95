"""safetensors: read as the safetensors library reads, and anything damaged is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save, save_file

from llmos.core.errors import FormatError, UserError
from llmos.weights import SafetensorsFile, bf16_to_float32, float32_to_bf16, open_checkpoint

TENSORS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b.weight": np.arange(6, dtype=np.float16).reshape(2, 3),
    "c": np.array([1, 2, 3], dtype=np.int64),
}


def test_tensors_are_those_of_the_reference_library(tmp_path):
    save_file(TENSORS, tmp_path / "x.safetensors", metadata={"format": "pt"})
    file = SafetensorsFile(tmp_path / "x.safetensors")
    assert sorted(file.names()) == sorted(TENSORS)
    for name, expected in TENSORS.items():
        np.testing.assert_array_equal(file.tensor(name).data, expected)
        assert file.tensor(name).dtype == expected.dtype.name


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 400))
def test_a_mutated_file_is_refused_or_read_as_the_reference_reads_it(tmp_path_factory, at, value, cut):
    data = bytearray(save(TENSORS))
    data[at % len(data)] = value
    data = bytes(data[: len(data) - cut])
    path = tmp_path_factory.mktemp("mutated") / "x.safetensors"
    path.write_bytes(data)
    try:
        file = SafetensorsFile(path)
        ours = {name: file.tensor(name) for name in file.names()}
    except UserError as error:
        assert str(path) in str(error)
        return
    for tensor in ours.values():
        assert tensor.data.nbytes <= len(data)
    try:
        theirs = load(data)
    except Exception:
        return  # we read what the header says; the reference also asks that no byte is left over
    for name, expected in theirs.items():
        assert ours[name].data.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "do not hold shape"),
        ({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, "F99"),
        ({"a": {"dtype": "F32", "shape": [100], "data_offsets": [0, 400]}}, "cut off"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}, "not a list of sizes"),
        (
            {
                "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
            },
            "overlap",
        ),
        ([1, 2], "not a JSON object"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, header, problem):
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(FormatError, match=problem):
        SafetensorsFile(path)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"\x80\x04pickle or anything else")
    with pytest.raises(FormatError, match="damaged or cut off"):
        SafetensorsFile(path)


def test_pickles_are_refused_with_the_safe_way(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="save_pretrained"):
        open_checkpoint(tmp_path)


def test_shards_are_read_as_one_and_a_missing_one_is_named(tmp_path):
    save_file({"a": TENSORS["a"]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"c": TENSORS["c"]}, tmp_path / "model-00002-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    checkpoint = open_checkpoint(tmp_path)
    np.testing.assert_array_equal(checkpoint.tensor("c").data, TENSORS["c"])
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match="model-00002-of-00002"):
        open_checkpoint(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    with pytest.raises(FormatError, match="no safetensors file of the same folder"):
        open_checkpoint(tmp_path)


def test_bfloat16_rounds_to_nearest_even():
    values = np.array([1.0, 1.00390625, 1.01171875, -2.5, 3.4e38, np.inf, np.nan, 0.0], np.float32)
    back = bf16_to_float32(float32_to_bf16(values))
    np.testing.assert_array_equal(back[:4], [1.0, 1.0, 1.015625, -2.5])
    assert np.isinf(back[5])
    assert np.isnan(back[6])
