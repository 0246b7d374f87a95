"""Adapters merged at load, held to the `peft` package on tiny random models of transformers."""

import json
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
tiny = pytest.importorskip("tests.tiny_checkpoints", reason="transformers and torch are not installed")
peft = pytest.importorskip("peft", reason="peft is not installed")

import torch  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

import llm  # noqa: E402
from llmos.api.prepare import Source, choose_options, open_source  # noqa: E402
from llmos.core.errors import FormatError, UserError  # noqa: E402
from llmos.core.files import sha256_file  # noqa: E402
from llmos.models import forward  # noqa: E402
from llmos.ops.numpy_ops import NumpyOps  # noqa: E402

IDS = [3, 1, 41, 5, 9, 26, 53, 58, 7]
LLAMA = {"target_modules": ["q_proj", "v_proj", "down_proj"]}
GPT2 = {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}
RANKS = {"rank_pattern": {r"layers\.1\.self_attn.q_proj": 3}, "alpha_pattern": {"down_proj": 5}}

SETTINGS = {
    "llama": ("llama", LLAMA),
    "llama, rank-stabilised": ("llama", LLAMA | {"r": 3, "lora_alpha": 7, "use_rslora": True}),
    "llama, patterns": ("llama", LLAMA | RANKS),
    "llama, an expression": ("llama", {"target_modules": r".*(self_attn|mlp)\.(o|gate|up)_proj"}),
    "llama, every linear layer": ("llama", {"target_modules": "all-linear"}),
    "llama, one layer": ("llama", LLAMA | {"layers_to_transform": 1, "exclude_modules": ["v_proj"]}),
    "llama, DoRA": ("llama", LLAMA | {"use_dora": True}),
    "llama, saved modules": ("llama", LLAMA | {"modules_to_save": ["embed_tokens", "lm_head", "norm"]}),
    "llama, embedding": ("llama", {"target_modules": ["embed_tokens", "lm_head", "k_proj"]}),
    "llama, biases": ("llama, biases", LLAMA | {"bias": "all"}),
    "llama, biases of the adapted": ("llama, biases", LLAMA | {"bias": "lora_only"}),
    "llama, tied, head": ("llama, tied", LLAMA | {"modules_to_save": ["lm_head"]}),
    "llama, tied, embedding": ("llama, tied", {"target_modules": ["q_proj", "embed_tokens"]}),
    "gpt2": ("gpt2", GPT2),
    "gpt2, DoRA": ("gpt2", GPT2 | {"use_dora": True}),
    "gpt2, embedding and norm": ("gpt2", GPT2 | {"modules_to_save": ["wte", "ln_f"]}),
    "gpt2, biases": ("gpt2", GPT2 | {"bias": "all"}),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Folder of a base model by its case, made when first asked for."""
    made: dict[str, Path] = {}

    def base(case: str) -> Path:
        if case not in made:
            made[case] = tiny.save(tiny.CASES[case](), tmp_path_factory.mktemp("base"))
        return made[case]

    return base


def train(base: Path, folder: Path, seed: int = 0, **settings) -> Path:
    """An adapter of a base model; all that it trains is random."""
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), peft.LoraConfig(**settings))
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, 0.1, 0.3)
    model.save_pretrained(folder)
    return folder


def theirs(base: Path, *adapters: Path, merge: bool = False) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(base)
    for adapter in adapters:
        model = peft.PeftModel.from_pretrained(model, adapter)
        model = model.merge_and_unload() if merge else model
    return tiny.logits(model.double().eval(), IDS)


def ours(source: Source) -> np.ndarray:
    values = {name: source.parameters[name].float32().astype(np.float64) for name in source.parameters}
    return forward(NumpyOps(), source.spec, values, IDS, np.arange(len(IDS)))


def assert_near(a: np.ndarray, b: np.ndarray) -> None:
    assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_merged_model_is_that_of_peft(setting, bases, tmp_path):
    case, settings = SETTINGS[setting]
    base, adapter = bases(case), train(bases(case), tmp_path / "adapter", **settings)
    logits = ours(open_source(str(base), [str(adapter)]))
    assert_near(logits, theirs(base, adapter))
    assert np.abs(logits - theirs(base)).max() > 0.1


def test_several_adapters_are_merged_in_order(bases, tmp_path):
    base = bases("llama")
    first = train(base, tmp_path / "first", **LLAMA)
    second = train(base, tmp_path / "second", 1, **LLAMA, modules_to_save=["norm"], use_dora=True)
    both = ours(open_source(str(base), [str(first), str(second)]))
    assert_near(both, theirs(base, first, second, merge=True))
    assert np.abs(both - theirs(base, second, first, merge=True)).max() > 1e-3


def test_rows_are_merged_when_they_are_asked_for(bases, tmp_path):
    base = bases("gpt2")
    source = open_source(str(base), [str(train(base, tmp_path / "adapter", **GPT2))])
    whole = source.parameters["layer.1.k"]
    np.testing.assert_allclose(whole.rows(5, 9).float32(), whole.float32()[5:9], rtol=1e-6)


def test_a_folder_with_an_adapter_alone_leads_to_its_base(bases, tmp_path):
    base = tmp_path / "here" / "base"
    shutil.copytree(bases("llama"), base)
    adapter = train(base, tmp_path / "here" / "adapter", **LLAMA)
    expected = theirs(base, adapter)
    say(adapter, base_model_name_or_path="../base")
    shutil.copytree(tmp_path / "here", tmp_path / "moved")
    shutil.rmtree(tmp_path / "here")
    source = open_source(str(tmp_path / "moved" / "adapter"))
    assert_near(ours(source), expected)
    assert source.resolved.display == str(tmp_path / "moved" / "adapter")


def test_a_base_that_is_not_there_is_named(bases, tmp_path):
    adapter = train(bases("llama"), tmp_path / "adapter", **LLAMA)
    say(adapter, base_model_name_or_path="/nowhere/base")
    with pytest.raises(
        UserError, match=r"adapter of the base model '/nowhere/base', which cannot be had .*no folder /nowhere"
    ):
        open_source(str(adapter))
    say(adapter, base_model_name_or_path=None)
    with pytest.raises(UserError, match="names no base model"):
        open_source(str(adapter))


def test_a_folder_with_a_model_and_an_adapter_must_say_which_is_meant(bases, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(bases("llama"), both)
    train(bases("llama"), both, **LLAMA)
    with pytest.raises(UserError, match="holds a model and an adapter"):
        open_source(str(both))
    assert_near(ours(open_source(str(both), [str(both)])), theirs(bases("llama"), both))


def test_an_adapter_of_another_model_is_refused(bases, tmp_path):
    adapter = train(bases("gpt2"), tmp_path / "adapter", **GPT2)
    with pytest.raises(UserError, match=r"changes .*c_attn.*which .* does not have: another base model\?"):
        open_source(str(bases("llama")), [str(adapter)])
    other = train(bases("llama"), tmp_path / "other", **LLAMA)
    with pytest.raises(FormatError, match=r"changes a matrix of 20 x 48; in the base model it has 60 x 48"):
        open_source(str(bases("llama, as many kv heads")), [str(other)])


def test_a_grown_vocabulary_is_named(bases, tmp_path):
    adapter = train(bases("llama"), tmp_path / "adapter", **LLAMA, modules_to_save=["lm_head"])
    change(adapter, {"base_model.model.lm_head.weight": np.zeros((101, 48), np.float32)})
    with pytest.raises(
        FormatError, match=r"\[101, 48\], the base model's \[97, 48\]: the adapter's vocabulary is another"
    ):
        open_source(str(bases("llama")), [str(adapter)])


SAID = {
    "peft_type": ("ADALORA", "peft_type is 'ADALORA'"),
    "init_lora_weights": ("pissa", "changes the weights of the base model too"),
    "lora_bias": (True, "lora_bias of an adapter is not supported"),
    "layer_replication": ([[0, 2]], "layer_replication of an adapter is not supported"),
    "shrink": (True, "unknown key 'shrink'"),
    "r": ("eight", "r must be of type int"),
    "use_dora": (True, "lora_magnitude_vector is missing"),
    "rank_pattern": ({"(a+)+b": 4}, "too involved"),
    "target_modules": (["q_proj", "v_proj"], "'model.layers.0.mlp.down_proj': has weights, although"),
    "bias": ("some", "bias is 'some'"),
    "lora_alpha": (float("inf"), "finite number"),
}


def test_a_start_of_no_kind_is_refused(bases, tmp_path):
    adapter = train(bases("llama"), tmp_path / "adapter", **LLAMA)
    say(adapter, init_lora_weights=["pissa"])
    with pytest.raises(FormatError, match=r"init_lora_weights is \['pissa'\]"):
        open_source(str(bases("llama")), [str(adapter)])


@pytest.mark.parametrize("name", SAID)
def test_what_an_adapter_says_and_we_do_not_understand_is_refused(name, bases, tmp_path):
    adapter = train(bases("llama"), tmp_path / "adapter", **LLAMA)
    value, message = SAID[name]
    say(adapter, **{name: value})
    with pytest.raises(FormatError, match=message):
        open_source(str(bases("llama")), [str(adapter)])


HELD = {
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": (
        None,
        "holds lora_A; lora_A and lora_B are needed",
    ),
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (np.zeros((9, 48), np.float32), "not of rank 8"),
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias": (np.zeros(60, np.float32), "lora_bias"),
    "base_model.model.score.weight": (np.zeros((2, 48), np.float32), "replaces score.weight, which .* does not have"),
    "model.layers.0.self_attn.q_proj.lora_A.weight": (np.zeros((8, 48), np.float32), "is none of an adapter's"),
    "base_model.model.lm_head.weight": (np.zeros((97, 48), np.int8), "is int8"),
}


@pytest.mark.parametrize("name", HELD)
def test_weights_of_an_adapter_that_do_not_belong_there_are_refused(name, bases, tmp_path):
    adapter = train(bases("llama"), tmp_path / "adapter", **LLAMA)
    value, message = HELD[name]
    change(adapter, {name: value})
    with pytest.raises(UserError, match=message):
        open_source(str(bases("llama")), [str(adapter)])


def test_weights_that_are_missing_are_named_and_pickles_refused(bases, tmp_path):
    adapter = train(bases("llama"), tmp_path / "adapter", **LLAMA)
    names = load_file(adapter / "adapter_model.safetensors")
    change(adapter, {name: None for name in names if "layers.1.mlp" in name})
    with pytest.raises(FormatError, match=r"no weights for model.layers.1.mlp.down_proj.weight"):
        open_source(str(bases("llama")), [str(adapter)])
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(UserError, match="a pickle can run any program"):
        open_source(str(bases("llama")), [str(adapter)])


def test_a_plan_takes_adapters_as_loading_does(bases, tmp_path):
    adapter = train(bases("llama"), tmp_path / "adapter", **LLAMA)
    assert llm.plan(str(bases("llama")), adapter=adapter, measure=False).fits
    with pytest.raises(UserError, match="another base model"):
        llm.plan(str(bases("gpt2")), adapter=adapter, measure=False)


def test_the_precision_of_the_base_is_kept(bases, tmp_path):
    base = tiny.save(tiny.CASES["llama"]().bfloat16(), tmp_path / "base")
    adapter = train(base, tmp_path / "adapter", **LLAMA)
    assert choose_options(open_source(str(base), [str(adapter)]), None, None).weights == "bf16"


@pytest.mark.toolchain
def test_a_merged_model_speaks_and_a_bundle_records_what_was_merged(bases, tmp_path):
    base = bases("llama")
    adapter = train(base, tmp_path / "mine", **LLAMA)
    llm.compile(base, tmp_path / "x.llm", adapter=adapter)
    wanted = theirs(base, adapter)[-1]
    found = []
    for model in (llm.load_model(base, adapter=[adapter]), llm.load_model(tmp_path / "x.llm"), llm.load_model(adapter)):
        with model:
            found.append(
                (next(iter(model.generate_tokens(IDS, max_tokens=1, temperature=0))), model.info()["adapters"])
            )
    assert found == [(wanted.argmax(), names) for names in ([str(adapter)], ["mine"], [str(adapter)])]
    with pytest.raises(UserError, match="compiled already"):
        llm.load_model(tmp_path / "x.llm", adapter=adapter)
    with zipfile.ZipFile(tmp_path / "x.llm") as archive:
        (lineage,) = json.loads(archive.read("lineage.json"))["adapters"]
    assert lineage["files"] == {path.name: sha256_file(path) for path in adapter.glob("adapter*")}


def notices(base: Path, adapter: Path) -> list[str]:
    """What planning a merged model warns of: it opens the model as loading does, and computes nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        llm.plan(str(base), adapter=adapter, measure=False)
    return [str(told.message) for told in caught if told.category is llm.ModelNotice]


def test_an_adapter_of_another_base_of_the_same_shapes_is_told(bases, tmp_path):
    base = tmp_path / "Tiny-Llama-3.2-1B-hf"
    shutil.copytree(bases("llama"), base)
    adapter = train(base, tmp_path / "adapter", **LLAMA)
    for same in (
        str(base),
        "someone/tiny_llama-3.2-1b",
        "C:\\models\\Tiny-Llama-3.2-1B",
        "x/tiny-llama-3.2-1b-GPTQ",
        "",
        None,
    ):
        say(adapter, base_model_name_or_path=same)
        assert notices(base, adapter) == [], same
    for other in ("someone/Tiny-Llama-3.2-1B-Instruct", "/data/tiny-llama-3.2-3b", "gpt2"):
        say(adapter, base_model_name_or_path=other)
        (told,) = notices(base, adapter)
        assert repr(other) in told and str(base) in told and "another name" in told
    say(base, "config.json", _name_or_path="openai-community/gpt2")
    assert notices(base, adapter) == []


def say(folder: Path, file: str = "adapter_config.json", **changes) -> None:
    """Change fields of an adapter's configuration, or of another file."""
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change(adapter: Path, changes: dict) -> None:
    """Change tensors of an adapter; None takes one out."""
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path) | changes
    save_file({name: value for name, value in tensors.items() if value is not None}, path)
