"""Folders with quantised layers, from config.json to the model: they compute what the dequantised model computes."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

pytestmark = pytest.mark.torch
tiny = pytest.importorskip("tests.tiny_checkpoints", reason="transformers and torch are not installed")

import llm  # noqa: E402
from llmos.api.assemble import fill_weights, weights_bytes  # noqa: E402
from llmos.api.describe import describe_model  # noqa: E402
from llmos.api.prepare import choose_options, open_source  # noqa: E402
from llmos.compiler import build_graph, layout  # noqa: E402
from llmos.core.errors import FormatError  # noqa: E402
from llmos.models import forward  # noqa: E402
from llmos.ops.numpy_ops import NumpyOps  # noqa: E402
from llmos.weights import unpack  # noqa: E402
from tests.quantized_files import awq, gptq, ordered, random_matrix, values  # noqa: E402

IDS = [3, 1, 41, 5, 9, 26, 53, 58, 7]
SHAPE = {"hidden_size": 64, "num_attention_heads": 4, "head_dim": 16, "intermediate_size": 96}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}


def is_layer(name: str, tensor: np.ndarray) -> bool:
    return tensor.ndim == 2 and ("_proj." in name or ".c_" in name)


def quantised(case_model, folder: Path, config: dict | None, pack, symmetric=True, keep=()) -> np.ndarray:
    """A folder whose layers are random quantised ones but for those of `keep`. Returns the logits of the same model in float32."""
    tiny.save(case_model, folder)
    tensors = load_file(folder / "model.safetensors")
    state = case_model.state_dict()
    out = {}
    for i, (name, tensor) in enumerate(tensors.items()):
        if not is_layer(name, tensor) or any(part in name for part in keep):
            out[name] = tensor.astype(np.float16)
            own = state[next(key for key in state if key.endswith(name))]
            own.copy_(own.half().float())
            continue
        turned = ".c_" in name  # Conv1D of gpt2 holds (in, out)
        rows, columns = tensor.shape[::-1] if turned else tensor.shape
        made = random_matrix(4, columns // 32, symmetric=symmetric, seed=i, rows=rows, columns=columns)
        w = values(*made, ordered(columns // 32, columns)).astype(np.float32)
        own = next(key for key in state if key.endswith(name))
        state[own].copy_(tiny.torch.from_numpy(w.T if turned else w))
        out |= pack(*made, name.removesuffix(".weight"), columns)
        if not turned:
            out[name.replace(".weight", ".bias")] = np.zeros(rows, np.float16)
    save_file(out, folder / "model.safetensors")
    if config is not None:
        raw = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(raw | {"quantization_config": config}))
    return tiny.logits(case_model, IDS)


def pack_gptq(codes, zeros, scales, layer, columns):
    return gptq(codes, zeros, scales, ordered(scales.shape[1], columns), 4, layer=layer)


def pack_awq(codes, zeros, scales, layer, columns):
    return awq(codes, zeros, scales, layer=layer)


def check(folder: Path, expected: np.ndarray, formats: tuple[str, str | None], notice: str | None = None) -> None:
    source = open_source(str(folder))
    w = {name: source.parameters[name].float32().astype(np.float64) for name in source.parameters}
    found = forward(NumpyOps(), source.spec, w, IDS, np.arange(len(IDS)))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    options = choose_options(source, None, None)
    assert (options.weights, options.tables) == formats
    assert (notice is None and not source.notices) or notice in source.notices[0]
    assert "quantization_config" not in source.config


def test_gptq_and_awq_models_compute_what_their_values_say(tmp_path):
    expected = quantised(tiny.llama(**SHAPE), tmp_path / "gptq", GPTQ, pack_gptq)
    check(tmp_path / "gptq", expected, ("int4", "float16"))
    expected = quantised(tiny.llama(**SHAPE), tmp_path / "awq", AWQ, pack_awq, symmetric=False)
    check(tmp_path / "awq", expected, ("uint4", "float16"))


def test_layers_of_gpt2_that_share_a_matrix_and_are_stored_turned(tmp_path):
    expected = quantised(tiny.gpt2(n_embd=64), tmp_path / "gpt2", GPTQ, pack_gptq)
    check(tmp_path / "gpt2", expected, ("int4", "float16"))


def test_a_model_of_which_some_layers_are_not_quantised_becomes_float16(tmp_path):
    config = GPTQ | {"modules_in_block_to_quantize": [["self_attn.q_proj"]]}
    expected = quantised(tiny.llama(**SHAPE), tmp_path / "some", config, pack_gptq, keep=["mlp", "o_proj"])
    check(tmp_path / "some", expected, ("float16", None), "8 matrices are not quantised (layer.0.down, ...)")
    with pytest.warns(llm.ModelNotice, match="gptq 4 bits"):
        facts = describe_model(str(tmp_path / "some"))
    assert set(facts["formats"]["checkpoint"].split(", ")) == {"float16", "gptq 4 bits"}


@pytest.mark.toolchain
def test_that_a_model_becomes_float16_is_said_when_it_is_compiled_and_not_when_that_is_asked_for(tmp_path):
    quantised(tiny.llama(**SHAPE), tmp_path / "some", GPTQ, pack_gptq, keep=["mlp"])
    with pytest.warns(llm.ModelNotice, match="its weights become float16"):
        llm.compile(tmp_path / "some", tmp_path / "x.llm")
    llm.compile(tmp_path / "some", tmp_path / "x.llm", weights="float16")


def test_settings_of_older_writers_lie_beside_the_config(tmp_path):
    expected = quantised(tiny.llama(**SHAPE), tmp_path / "old", None, pack_gptq)
    (tmp_path / "old" / "quantize_config.json").write_text(json.dumps({"bits": 4, "group_size": 32, "desc_act": False}))
    check(tmp_path / "old", expected, ("int4", "float16"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quantization": {"bits": 4, "group_size": 64}}, "quantised for MLX"),
        ({"quantization_config": {"quant_method": "fp8"}}, r"config\.json: quantization_config: quant_method 'fp8'"),
        ({"quantization_config": 4}, "must be one table"),
    ],
)
def test_configs_of_other_ways_to_store_weights_are_refused(config, message, tmp_path):
    tiny.save(tiny.llama(), tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | config))
    with pytest.raises(FormatError, match=message):
        open_source(str(tmp_path))


def test_the_codes_of_the_checkpoint_are_packed_as_they_are(tmp_path):
    quantised(tiny.llama(**SHAPE), tmp_path, GPTQ, pack_gptq)
    source = open_source(str(tmp_path))
    for weights in (None, "int4", "uint4", "int8"):
        graph = build_graph(source.spec, choose_options(source, weights, None))
        packed = np.zeros(weights_bytes(graph), np.uint8)
        fill_weights(graph, source.parameters, memoryview(packed))
        for section in layout(graph):
            stored = np.concatenate([source.parameters[name].float32() for name in section.parts])
            if section.format == "plain" or (section.name in ("embed", "head") and weights):
                continue
            data = packed[section.offset : section.offset + section.n_bytes]
            np.testing.assert_array_equal(unpack(data, *section.shape, section.format), stored, section.name)


@pytest.mark.toolchain
def test_a_quantised_model_speaks_and_is_compiled_into_one_file(tmp_path):
    expected = quantised(tiny.llama(**SHAPE), tmp_path / "gptq", GPTQ, pack_gptq)[-1]
    llm.compile(tmp_path / "gptq", tmp_path / "x.llm")
    for path in (tmp_path / "gptq", tmp_path / "x.llm"):
        with llm.load_model(path) as model:
            formats = model.info()["formats"]
            assert (formats["weights"], formats["tables"]) == ("int4", "float16")
            first = next(iter(model.generate_tokens(IDS, max_tokens=1, temperature=0)))
            assert expected.max() - expected[first] < 0.02 * np.abs(expected).max()


def test_a_quantised_model_with_an_adapter_merged_is_not_rounded_again(tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    base = tmp_path / "base"
    quantised(tiny.llama(**SHAPE), base, GPTQ, pack_gptq)
    with pytest.warns():
        peft.get_peft_model(tiny.llama(**SHAPE), peft.LoraConfig(target_modules=["q_proj"])).save_pretrained(
            tmp_path / "a"
        )
    source = open_source(str(base), [str(tmp_path / "a")])
    assert source.precision == "float16" and "cannot hold it with an adapter merged" in source.notices[0]
    assert choose_options(source, "int8", None).weights == "int8"
