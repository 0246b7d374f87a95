"""The folder that training leaves is a plain Hugging Face checkpoint."""

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from safetensors.torch import save_file  # noqa: E402

from llmos.core.config import load_toml  # noqa: E402
from llmos.core.errors import UserError  # noqa: E402
from llmos.models import FAMILIES, shapes, sources, spec_from_config  # noqa: E402
from llmos.trainer import Recipe, train, train_file  # noqa: E402
from llmos.trainer.export import checkpoint_tensors  # noqa: E402
from llmos.trainer.flops import flops_per_token  # noqa: E402
from llmos.trainer.module import initial_parameters, logits  # noqa: E402
from llmos.trainer.optimizer import make_optimizers  # noqa: E402
from llmos.trainer.recipe import Optimizer  # noqa: E402
from llmos.weights import Parameters, open_checkpoint  # noqa: E402
from tests import tiny_checkpoints as tiny  # noqa: E402

pytestmark = pytest.mark.torch

GPT2 = {
    "model_type": "gpt2", "vocab_size": 40, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 32,
    "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
}  # fmt: skip


def test_transformers_loads_the_model_and_agrees(recipe_file):
    folder = train_file(recipe_file, {"generation.temperature": "0.5"}, progress=False).model
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    ids = tokenizer("the cat sat on a mat", return_tensors="pt")["input_ids"]
    assert ids[0, 0] == tokenizer.eos_token_id
    spec = spec_from_config(json.loads((folder / "config.json").read_text()))
    w = {name: value.detach().float() for name, value in our_names(spec, model).items()}
    with torch.no_grad():
        expected, got = model(ids).logits, logits(spec, w, ids)
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()
    assert model.generation_config.eos_token_id == [0, 1]
    assert (model.generation_config.temperature, model.generation_config.top_p) == (0.5, 0.95)
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "<|endoftext|>hi<|end|>"
    )


def test_stacked_and_transposed_weights_are_stored_as_their_family_does():
    spec = spec_from_config(GPT2)
    w = initial_parameters(spec, 0)
    config = transformers.GPT2Config(**{k: v for k, v in GPT2.items() if k != "model_type"})
    model = transformers.GPT2LMHeadModel(config).eval()
    tensors = checkpoint_tensors(spec, w, torch.float32)
    prefix = "" if any(name.startswith("transformer.") for name in tensors) else "transformer."
    missing, unexpected = model.load_state_dict({prefix + name: t for name, t in tensors.items()}, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    ids = torch.arange(9)[None] % 40
    with torch.no_grad():
        assert (model(ids).logits - logits(spec, w, ids)).abs().max() < 1e-4


STORED_DIFFERENTLY = ["falcon, grouped", "gemma3_text", "gpt_neox", "mixtral", "opt", "phi3", "stablelm, parallel"]


@pytest.mark.parametrize("case", STORED_DIFFERENTLY)
def test_what_is_exported_is_read_back_as_it_was(case, tmp_path):
    """Tensors by head, differences from 1, rows that no token has, a tensor for each head, experts."""
    spec = spec_from_config(tiny.CASES[case]().config.to_dict())
    w = {name: value + 0.1 * torch.rand_like(value) for name, value in initial_parameters(spec, 0).items()}
    save_file(checkpoint_tensors(spec, w, torch.float32), tmp_path / "model.safetensors")
    family = FAMILIES[spec.family]
    found = Parameters(open_checkpoint(tmp_path), sources(spec), shapes(spec), prefixes=family.PREFIXES, tied=spec.tied)
    assert set(found) == set(w)
    for name, value in w.items():
        torch.testing.assert_close(torch.tensor(found[name].float32()), value.detach(), rtol=0, atol=2e-7)


def test_norms_of_heads_start_at_one_and_do_not_decay():
    spec = spec_from_config(tiny.CASES["stablelm, parallel"]().config.to_dict())
    w = initial_parameters(spec, 0)
    assert (w["layer.0.q_norm"] == 1).all()
    groups = make_optimizers(w, Optimizer(weight_decay=0.1))[0].param_groups
    still = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    assert id(w["layer.1.k_norm"]) in still


def test_of_experts_those_that_work_on_a_token_count():
    config = tiny.CASES["qwen3_moe"]().config.to_dict()
    few, many = (flops_per_token(spec_from_config(config | {"num_local_experts": n}), 8) for n in (7, 14))
    assert many - few == pytest.approx(6 * 2 * 7 * config["hidden_size"])  # the router alone


def test_a_model_of_which_only_a_part_is_known_is_not_trained(recipe_file):
    recipe = load_toml(Recipe, recipe_file)
    tokenizer = replace(recipe.tokenizer, path=recipe_file.parent)
    recipe = replace(recipe, model=tiny.CASES["gemma3"]().config.to_dict(), tokenizer=tokenizer)
    with pytest.raises(UserError, match="gemma3 is only a part"):
        train(recipe)


def our_names(spec, model):
    state = model.state_dict()
    return {name: state[source.name] for name, source in sources(spec).items()}
