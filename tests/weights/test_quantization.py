"""GPTQ, AWQ and compressed-tensors, packed here from the published layouts, give the values that their formulas give."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmos.core.errors import FormatError
from llmos.weights import QuantizedTensor, open_checkpoint
from llmos.weights.quantization import open_quantized
from tests.quantized_files import awq, gptq, ordered, random_matrix, values, words

ROWS, COLUMNS = 40, 192  # of random_matrix


def opened(folder, tensors, **config) -> QuantizedTensor:
    save_file(tensors, folder / "model.safetensors")
    found = open_quantized(open_checkpoint(folder), config, "config.json: quantization_config")
    assert "x.weight" in found.names() and "x.qweight" not in found.names()
    return found.tensor("x.weight")


def check(tensor: QuantizedTensor, expected, keeps, exact=True):
    """Values, rows in pieces, and the groups of the format that is said to keep them."""
    assert tensor.shape == expected.shape and tensor.keeps == keeps
    np.testing.assert_allclose(tensor.float32(), expected, rtol=1e-6, atol=1e-9)
    for start, stop in ((0, 1), (3, 21), (39, 40)):
        np.testing.assert_array_equal(tensor.rows(start, stop).float32(), tensor.float32()[start:stop])
    if keeps is not None:
        groups = tensor.groups()
        assert groups.format == keeps
        bound = 0 if exact else 2.0**-11 * 16 * np.abs(expected).max()
        np.testing.assert_allclose(groups.float32(), expected, rtol=1e-6, atol=1e-9 + bound)
        np.testing.assert_array_equal(tensor.rows(5, 11).groups().codes, groups.codes[5:11])


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("groups", [6, 3, 1])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("format", ["gptq", "gptq_v2"])
def test_gptq(bits, groups, symmetric, format, tmp_path):
    made = random_matrix(bits, groups, symmetric=symmetric)
    tensors = gptq(*made, ordered(groups), bits, less_one=format == "gptq")
    found = opened(tmp_path, tensors, quant_method="gptq", bits=bits, checkpoint_format=format, sym=symmetric)
    keeps = {(4, True): "int4", (4, False): "uint4", (8, True): "int8", (8, False): None}[bits, symmetric]
    check(found, values(*made, ordered(groups)), keeps, exact=symmetric)


def test_gptq_in_the_order_of_activations_is_kept_only_where_groups_stay_together(tmp_path):
    made, rng = random_matrix(4, 6, symmetric=True), np.random.default_rng(1)
    for group_of, keeps in ((rng.permutation(ordered(6)), None), (np.repeat(rng.permutation(6), 32), "int4")):
        found = opened(tmp_path, gptq(*made, group_of, 4), quant_method="gptq", bits=4, desc_act=True)
        check(found, values(*made, group_of), keeps)


def test_gptq_layers_may_have_other_bits_than_the_config_says(tmp_path):
    made = random_matrix(8, 3, symmetric=True)
    found = opened(tmp_path, gptq(*made, ordered(3), 8), quant_method="gptq", bits=4, dynamic={r"+:.*x": {"bits": 8}})
    check(found, values(*made, ordered(3)), "int8")


@pytest.mark.parametrize("size", [128, 160])
def test_gptq_without_an_order_has_groups_of_the_stated_size_and_a_shorter_last_one(size, tmp_path):
    made, group_of = random_matrix(4, 2, symmetric=True), np.arange(COLUMNS) // size
    tensors = gptq(*made, group_of, 4)
    del tensors["x.g_idx"]
    check(opened(tmp_path, tensors, quant_method="gptq", bits=4, group_size=size), values(*made, group_of), "int4")
    halves = opened(tmp_path, tensors, quant_method="gptq", bits=4, group_size=32)  # two groups, whatever is said
    check(halves, values(*made, ordered(2)), "int4")


def test_groups_that_fit_no_columns_are_refused_where_no_order_is_given(tmp_path):
    made = random_matrix(4, 5, symmetric=True)
    tensors = gptq(*made, np.arange(COLUMNS) * 5 // COLUMNS, 4)
    del tensors["x.g_idx"]
    with pytest.raises(FormatError, match="5 groups of scales do not fit 192 columns"):
        opened(tmp_path, tensors, quant_method="gptq", bits=4, group_size=128)


def test_groups_that_are_no_multiple_of_32_have_no_format(tmp_path):
    made = random_matrix(4, 12, symmetric=True)
    check(opened(tmp_path, gptq(*made, ordered(12), 4), quant_method="gptq", bits=4), values(*made, ordered(12)), None)


@pytest.mark.parametrize("groups", [6, 3, 1])
@pytest.mark.parametrize("zero_point", [True, False])
def test_awq(groups, zero_point, tmp_path):
    made = random_matrix(4, groups, symmetric=not zero_point)
    tensors = awq(*made)
    if not zero_point:
        del tensors["x.qzeros"]
    found = opened(tmp_path, tensors, quant_method="awq", bits=4, zero_point=zero_point, version="GEMM", group_size=32)
    check(found, values(*made, ordered(groups)), "uint4" if zero_point else "int4", exact=not zero_point)


def compressed(folder, tensors, *, format="pack-quantized", **weights):
    scheme = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32} | weights
    config = {
        "quant_method": "compressed-tensors",
        "format": format,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
    }
    groups = {
        "group_0": {"targets": ["Linear"], "weights": scheme, "input_activations": None, "output_activations": None}
    }
    return opened(folder, tensors, **config, config_groups=groups)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("groups", [6, 1])
@pytest.mark.parametrize("symmetric", [True, False])
def test_compressed_tensors(bits, groups, symmetric, tmp_path):
    made = codes, zeros, scales = random_matrix(bits, groups, symmetric=symmetric)
    tensors = {
        "x.weight_packed": words(codes, bits),
        "x.weight_scale": scales,
        "x.weight_shape": np.array([ROWS, COLUMNS]),
    }
    if not symmetric:
        tensors["x.weight_zero_point"] = np.ascontiguousarray(words(zeros.T, bits).T)
    found = compressed(tmp_path, tensors, num_bits=bits, symmetric=symmetric)
    keeps = {(4, True): "int4", (4, False): "uint4", (8, True): "int8", (8, False): None}[bits, symmetric]
    check(found, values(*made, ordered(groups)), keeps, exact=symmetric)


def test_compressed_tensors_with_groups_of_their_own_order(tmp_path):
    made = codes, _, scales = random_matrix(4, 6, symmetric=True)
    group_of = np.random.default_rng(2).permutation(ordered(6))
    tensors = {
        "x.weight_packed": words(codes, 4),
        "x.weight_scale": scales,
        "x.weight_shape": np.array([ROWS, COLUMNS]),
    }
    check(compressed(tmp_path, tensors | {"x.weight_g_idx": group_of.astype(np.int32)}), values(*made, group_of), None)
    unfilled = np.full(COLUMNS, -1, np.int32)
    check(compressed(tmp_path, tensors | {"x.weight_g_idx": unfilled}), values(*made, ordered(6)), "int4")


@pytest.mark.parametrize("scale_shape", [(ROWS, 1), (ROWS,), (1,)])
def test_compressed_tensors_in_plain_bytes(scale_shape, tmp_path):
    codes, zeros, scales = random_matrix(8, 1, symmetric=True)
    scales = scales if scale_shape != (1,) else np.broadcast_to(scales[:1], scales.shape)
    stored = scales.reshape(scale_shape) if scale_shape != (1,) else scales[0, :1].copy()
    tensors = {"x.weight": (codes - 128).astype(np.int8), "x.weight_scale": np.ascontiguousarray(stored)}
    found = compressed(tmp_path, tensors, format="naive-quantized", num_bits=8, strategy="channel", group_size=None)
    check(found, values(codes, zeros, scales, ordered(1)), "int8")


def test_scales_that_float16_does_not_hold_are_not_said_to_be_kept(tmp_path):
    codes, zeros, _ = random_matrix(4, 6, symmetric=True)
    for scale, keeps in ((1e-3, "int4"), (1e-7, None), (1e5, None)):
        made = codes, zeros, np.full((ROWS, 6), scale, np.float32)
        found = opened(tmp_path, gptq(*made, ordered(6), 4), quant_method="gptq", bits=4)
        assert found.keeps == keeps
        np.testing.assert_allclose(found.float32(), values(*made, ordered(6)), rtol=1e-6)


def test_what_is_not_quantised_stays_as_it_is_and_biases_of_zeros_are_spare(tmp_path):
    made = random_matrix(4, 6, symmetric=True)
    plain = {
        "x.bias": np.zeros(ROWS, np.float16),
        "y.weight": np.ones((2, 3), np.float16),
        "y.scales": np.ones(2, np.float32),
    }
    save_file(gptq(*made, ordered(6), 4) | plain, tmp_path / "model.safetensors")
    found = open_quantized(open_checkpoint(tmp_path), {"quant_method": "gptq", "bits": 4}, "config.json")
    assert set(found.names()) == {"x.weight", "x.bias", "y.weight", "y.scales"}
    assert found.spare == ("x.bias",)
    assert found.tensor("y.weight").dtype == "float16"


WEIGHTS = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}
GROUP = {"targets": ["Linear"], "weights": WEIGHTS}
REFUSED = [
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "'bitsandbytes' is not supported; understood: gptq, awq"),
    ({"quant_method": "fp8"}, "'fp8' is not supported"),
    ({"quant_method": ["gptq"]}, r"\['gptq'\] is not supported"),
    ({"quant_method": "gptq", "bits": 3}, "bits is 3; understood: 4 and 8"),
    ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "the format is marlin"),
    ({"quant_method": "gptq", "bits": 4, "rotation": "hadamard"}, "rotation = 'hadamard' is not supported"),
    ({"quant_method": "gptq", "bits": 4, "curl": 1}, "unknown key 'curl'"),
    ({"quant_method": "gptq"}, "bits is missing"),
    ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "the version is gemv; understood: gemm"),
    ({"quant_method": "awq", "w_bit": 3}, "bits is 3"),
    ({"quant_method": "compressed-tensors"}, "config_groups must be a table"),
    (
        {"config_groups": {"a": GROUP | {"input_activations": {"num_bits": 8}}}},
        "activations that are quantised are not supported",
    ),
    ({"config_groups": {"a": GROUP | {"weights": WEIGHTS | {"type": "float"}}}}, "weights of type float with 4 bits"),
    ({"config_groups": {"a": GROUP | {"weights": WEIGHTS | {"strategy": "block"}}}}, "the strategy 'block'"),
    ({"config_groups": {"a": GROUP}, "format": "marlin-24"}, "the format 'marlin-24' is not supported"),
    ({"config_groups": {"a": GROUP}, "kv_cache_scheme": {"num_bits": 8}}, "kv_cache_scheme"),
    ({"config_groups": {"a": GROUP}, "transform_config": {"r": 1}}, "transform_config"),
    ({"config_groups": {"a": GROUP}, "quantization_status": "frozen"}, "quantization_status is 'frozen'"),
]


@pytest.mark.parametrize(("config", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_settings_that_are_not_understood_are_refused(config, message, tmp_path):
    save_file({"y": np.ones(3, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match=message):
        open_quantized(open_checkpoint(tmp_path), config, "config.json: quantization_config")


DAMAGED = [
    ("x.g_idx", lambda t: t + 6, "names groups beyond the 6"),
    ("x.scales", lambda t: t * np.float16(np.nan), "NaN or infinite"),
    ("x.scales", lambda t: t[0], r"scales is float16 \[40\]"),
    ("x.scales", lambda t: t[:0], "scales is empty"),
    ("x.qzeros", lambda t: t[:, :2].copy(), "qzeros has shape"),
    ("x.qweight", lambda t: t[:5].copy(), "qweight has shape"),
    ("x.qweight", lambda t: t.astype(np.int64), "qweight is int64"),
]


@pytest.mark.parametrize(("name", "change", "message"), DAMAGED, ids=[message for _, _, message in DAMAGED])
def test_layers_whose_tensors_do_not_fit_together_are_refused(name, change, message, tmp_path):
    tensors = gptq(*random_matrix(4, 6, symmetric=True), ordered(6), 4)
    with pytest.raises(FormatError, match=message):
        opened(tmp_path, tensors | {name: change(tensors[name])}, quant_method="gptq", bits=4)


def test_the_config_of_a_writer_is_understood(tmp_path):
    """As GPTQModel and AutoAWQ write them."""
    made = random_matrix(4, 6, symmetric=True)
    config = json.loads(
        """{"bits": 4, "checkpoint_format": "gptq", "desc_act": false, "format": "gptq", "group_size": 32, "lm_head": false,
        "meta": {"damp_percent": 0.05, "quantizer": ["gptqmodel:4.0.0"]}, "method": "gptq", "pack_dtype": "int32",
        "quant_method": "gptq", "sym": true, "dynamic": null}"""
    )
    check(opened(tmp_path, gptq(*made, ordered(6), 4), **config), values(*made, ordered(6)), "int4")
    config = {
        "bits": 4,
        "group_size": 32,
        "modules_to_not_convert": None,
        "quant_method": "awq",
        "version": "gemm",
        "zero_point": True,
    }
    check(opened(tmp_path, awq(*made), **config), values(*made, ordered(6)), "int4")


@pytest.mark.torch
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("strategy", ["group", "channel"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_layers_that_compressed_tensors_packed(bits, strategy, symmetric, tmp_path):
    """With scales in bfloat16, as its users have them."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("compressed_tensors", reason="compressed-tensors is not installed")
    from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from safetensors.torch import save_file as save_torch

    torch.manual_seed(0)
    size = 32 if strategy == "group" else None
    args = QuantizationArgs(num_bits=bits, strategy=strategy, group_size=size, symmetric=symmetric)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    groups = COLUMNS // 32 if strategy == "group" else 1
    low = -(2 ** (bits - 1))
    state = {
        "weight": torch.randn(ROWS, COLUMNS),
        "weight_scale": (torch.rand(ROWS, groups) * 0.1 + 0.01).bfloat16(),
        "weight_zero_point": torch.zeros(ROWS, groups, dtype=torch.int8),
    }
    if not symmetric:
        state["weight_zero_point"] = torch.randint(low, -low, (ROWS, groups), dtype=torch.int8)
    packed = PackedQuantizationCompressor.compress(state, scheme)
    expected = PackedQuantizationCompressor.decompress(
        {k: v.float() if k == "weight_scale" else v for k, v in packed.items()}, scheme
    )
    save_torch({f"x.{name}": tensor for name, tensor in packed.items()}, tmp_path / "model.safetensors")
    config = {
        "config_groups": {"group_0": scheme.model_dump()},
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
    }
    found = open_quantized(open_checkpoint(tmp_path), config, "config.json").tensor("x.weight")
    np.testing.assert_allclose(found.float32(), expected["weight"].numpy(), rtol=1e-6, atol=1e-9)
    assert found.keeps == {(4, True): "int4", (4, False): "uint4", (8, True): "int8", (8, False): None}[bits, symmetric]
