"""A run small enough to train in a second: 2 layers of width 32 on generated text."""

import json
import random

import pytest

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "saw",
    "one",
    "old",
    "dog",
    "who",
    "ran",
    "to",
    "its",
    "big",
    "red",
    "house",
    "by",
    "the",
    "sea",
    "with",
    "no",
    "hat",
]


def sentences(seed: int, count: int) -> str:
    rng = random.Random(seed)
    return " ".join(" ".join(rng.choices(WORDS, k=8)) + "." for _ in range(count))


@pytest.fixture
def recipe_file(tmp_path):
    """A recipe whose folder is inside tmp_path; returns its path."""
    lines = [json.dumps({"text": sentences(seed, 40)}) for seed in range(20)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "heldout.txt").write_text(sentences(99, 60))
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(folder=tmp_path))
    return path


RECIPE = """
folder = "{folder}/run"
precision = "float32"
compile = "no"
threads = 1

[model]
model_type = "llama"
architectures = ["LlamaForCausalLM"]
vocab_size = 300
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 32
rms_norm_eps = 1e-5
hidden_act = "silu"
tie_word_embeddings = true

[tokenizer]
vocab = 300
special = ["<|endoftext|>", "<|end|>"]
stop = ["<|endoftext|>", "<|end|>"]
chat_template = "{{{{ bos_token }}}}{{% for m in messages %}}{{{{ m['content'] }}}}<|end|>{{% endfor %}}"

[data]
seed = 3
[[data.sources]]
name = "text"
path = "{folder}/train.jsonl"
[[data.heldout]]
name = "heldout"
path = "{folder}/heldout.txt"

[batch]
sequences = 4
length = 16
accumulate = 1

[optimizer]
name = "muon"

[schedule]
steps = 20
warmup_steps = 3
decay_steps = 5

[checkpoints]
every_steps = 5

[evaluation]
every_steps = 10
length = 16
"""
