"""What lies in folders that users bring: files with other names, two checkpoints at once, shards without an index."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmos.core.errors import FormatError, UserError
from llmos.weights import open_checkpoint

A, B = np.arange(3, dtype=np.float32), np.arange(4, dtype=np.float16)


def put(folder, **files):
    for name, tensors in files.items():
        save_file(tensors, folder / f"{name.replace('__', '.')}.safetensors")


def index(folder, name, weight_map):
    (folder / name).write_text(json.dumps({"weight_map": weight_map}))


def test_a_single_file_goes_before_its_index(tmp_path):
    put(tmp_path, model={"a": A})
    index(tmp_path, "model.safetensors.index.json", {"a": "model.safetensors"})
    assert open_checkpoint(tmp_path).files() == [tmp_path / "model.safetensors"]


def test_a_single_file_and_an_index_of_something_else_are_two_checkpoints(tmp_path):
    put(tmp_path, model={"a": A}, other={"b": B})
    index(tmp_path, "model.safetensors.index.json", {"b": "other.safetensors"})
    with pytest.raises(UserError, match="two checkpoints"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("file", ["model.fp16", "model.bf16", "pytorch_model", "weights"])
def test_one_file_of_another_name_is_the_checkpoint(tmp_path, file):
    save_file({"a": A}, tmp_path / f"{file}.safetensors")
    np.testing.assert_array_equal(open_checkpoint(tmp_path).tensor("a").data, A)


@pytest.mark.parametrize("name", ["model.safetensors.index.fp16.json", "model.fp16.safetensors.index.json"])
def test_a_variant_in_shards_is_found_by_its_index(tmp_path, name):
    put(tmp_path, first={"a": A}, second={"b": B})
    index(tmp_path, name, {"a": "first.safetensors", "b": "second.safetensors"})
    found = open_checkpoint(tmp_path)
    assert found.names() == ["a", "b"]
    assert tmp_path / name in found.files()


def test_the_plain_checkpoint_goes_before_a_variant_and_two_variants_are_refused(tmp_path):
    put(tmp_path, model__fp16={"a": A}, model__fp32={"a": A})
    with pytest.raises(UserError, match=r"several variants \(fp16, fp32\)"):
        open_checkpoint(tmp_path)
    put(tmp_path, model={"a": 2 * A})
    np.testing.assert_array_equal(open_checkpoint(tmp_path).tensor("a").data, 2 * A)


def test_shards_without_an_index_are_joined(tmp_path):
    put(tmp_path, one={"a": A}, two={"b": B})
    found = open_checkpoint(tmp_path)
    assert found.names() == ["a", "b"]
    assert found.files() == [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    np.testing.assert_array_equal(found.tensor("b").data, B)


def test_a_tensor_in_two_files_is_refused_by_name(tmp_path):
    put(tmp_path, one={"a": A}, two={"a": A, "b": B})
    with pytest.raises(UserError, match=r"'a' is both in one.safetensors and in two.safetensors"):
        open_checkpoint(tmp_path)


def test_numbered_shards_without_an_index_must_all_be_there(tmp_path):
    save_file({"a": A}, tmp_path / "model-00002-of-00003.safetensors")
    with pytest.raises(UserError, match=r"2 shards are missing: model-00001-of-00003.safetensors, model-00003"):
        open_checkpoint(tmp_path)


def test_the_files_of_mistral_are_refused_alone_and_passed_over_beside_others(tmp_path):
    put(tmp_path, consolidated={"layers.0.attention.wq.weight": A})
    with pytest.raises(UserError, match="Mistral's own format"):
        open_checkpoint(tmp_path)
    save_file({"a": A}, tmp_path / "model-00001-of-00001.safetensors")
    assert open_checkpoint(tmp_path).names() == ["a"]


def test_weights_of_an_adapter_are_no_checkpoint(tmp_path):
    put(tmp_path, adapter_model={"a": A})
    with pytest.raises(UserError, match="holds no weights"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F4", "C64"])
def test_a_number_format_that_is_not_read_is_named_with_a_way_out(tmp_path, dtype):
    header = json.dumps({"w": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(FormatError, match=rf"'w': dtype {dtype} .*take the model's checkpoint in bf16"):
        open_checkpoint(tmp_path)
