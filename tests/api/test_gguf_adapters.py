"""Adapters of peft over GGUF bases: what peft makes of the same weights, whatever layout and type the file stores them in."""

import json

import numpy as np
import pytest

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
models = pytest.importorskip("tests.gguf_models", reason="transformers and torch are not installed")
peft = pytest.importorskip("peft", reason="peft is not installed")

import torch  # noqa: E402

from llmos.api.opening import open_source  # noqa: E402
from llmos.api.source import told  # noqa: E402
from llmos.core.errors import UserError  # noqa: E402
from llmos.models import forward  # noqa: E402
from llmos.ops.numpy_ops import NumpyOps  # noqa: E402
from tests.tiny_checkpoints import logits  # noqa: E402

IDS = [3, 1, 41, 5, 9, 26, 53, 58, 7]


def adapted(folder, model, targets, **settings):
    """The model with a random adapter, which is saved to `folder`."""
    torch.manual_seed(1)
    fused = any("c_attn" in target for target in targets)
    config = peft.LoraConfig(r=3, target_modules=targets, fan_in_fan_out=fused, **settings)
    wrapped = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    wrapped.save_pretrained(folder)
    return wrapped


CASES = {
    "neighbours of rope": ("llama", models.CASES, "F32", ["q_proj", "k_proj", "down_proj"]),
    "stacks of another order": ("falcon, grouped", models.CASES, "F32", ["query_key_value"]),
    "turned matrices": ("gpt2", models.CASES, "F32", ["c_attn"]),
    "codes": ("llama", models.WIDE, "Q4_K", ["q_proj", "v_proj", "up_proj"]),
}


@pytest.mark.parametrize("tables", ["F16", "Q8_0"])
def test_sums_are_not_rounded_to_codes_in_a_file_of_floats_either(tmp_path, tables):
    case, model = models.WIDE["llama"], models.WIDE["llama"].model()
    others = {"blk.0.ffn_down.weight": "Q8_0", "token_embd.weight": tables, "output.weight": tables}
    path = models.write_model(tmp_path / "x.gguf", case, model, "BF16", others)
    adapted(tmp_path / "adapter", model, ["down_proj"])
    source = open_source(str(path), [str(tmp_path / "adapter")])
    assert (source.precision, source.tables, dict(source.matrices)) == (
        "bf16",
        "float16",
        {"layer.0.down": "float16"},
    )
    assert "stored as int8, which cannot hold it with an adapter" in source.notices[0]


@pytest.mark.parametrize("case", CASES)
def test_the_merged_model_is_that_of_peft(case, tmp_path):
    name, cases, kind, targets = CASES[case]
    model = cases[name].model()
    path = models.write_model(tmp_path / "x.gguf", cases[name], model, kind)
    reference = adapted(tmp_path / "adapter", model, targets)
    source = open_source(str(path), [str(tmp_path / "adapter")])
    w = {name: tensor.float32().astype(np.float64) for name, tensor in source.parameters.items()}
    ours = forward(NumpyOps(), source.spec, w, IDS, np.arange(len(IDS)))
    theirs = logits(reference.double(), IDS)
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    plain = kind == "F32"
    assert source.precision == ("float32" if plain else "float16")
    assert (
        source.notices == () if plain else "stored as uint4, which cannot hold it with an adapter" in source.notices[0]
    )


def test_an_adapter_that_replaces_tensors_wants_another_base(tmp_path):
    model = models.CASES["llama"].model()
    path = models.write_model(tmp_path / "x.gguf", models.CASES["llama"], model)
    adapted(tmp_path / "adapter", model, ["q_proj"], modules_to_save=["norm"])
    with pytest.raises(UserError, match=r"replaces whole tensors .*give the base model as such, not .*x.gguf"):
        open_source(str(path), [str(tmp_path / "adapter")])


def test_the_base_of_an_adapter_is_known_by_the_files_name_or_title(tmp_path):
    model = models.CASES["llama"].model()
    path = models.write_model(tmp_path / "Some-Model-1B-Q4_K_M.gguf", models.CASES["llama"], model, "F32")
    adapter = tmp_path / "adapter"
    adapted(adapter, model, ["q_proj"])
    said = adapter / "adapter_config.json"
    config, found = json.loads(said.read_text()), {}
    for name in ("someone/some-model-1b", "someone/some-model-1b-instruct", "someone/The-Title"):
        said.write_text(json.dumps(config | {"base_model_name_or_path": name}))
        source = open_source(str(path), [str(adapter)])
        found[name] = bool(told(source, None))
        source.parameters.checkpoint.metadata["general.name"] = "the title"
        found[name] = (found[name], bool(told(source, None)))
    assert list(found.values()) == [(False, False), (True, True), (True, False)]
