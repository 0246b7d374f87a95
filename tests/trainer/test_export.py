"""The folder that training leaves is a plain Hugging Face checkpoint."""

import json

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llmos.models import spec_from_config  # noqa: E402
from llmos.trainer import train_file  # noqa: E402
from llmos.trainer.export import checkpoint_tensors  # noqa: E402
from llmos.trainer.module import initial_parameters, logits  # noqa: E402

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


def our_names(spec, model):
    from llmos.models import sources

    state = model.state_dict()
    return {name: state[source.name] for name, source in sources(spec).items()}
