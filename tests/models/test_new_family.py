"""One file makes a family: the worked example of CONTRIBUTING.md, loaded, compiled and held to mathematics written here."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmos.core.errors import UserError
from llmos.models import FAMILIES, families, registry, spec_from_config
from llmos.runtime import Batch, NativeExecutor, Output
from tests.tiny_programs import folder_program

pytestmark = pytest.mark.toolchain

WIDTH, HEADS, KV_HEADS, HEAD_DIM, HIDDEN, VOCAB, LAYERS, WINDOW = 42, 6, 3, 14, 50, 61, 2, 35
CONFIG = {
    "model_type": "wren",
    "architectures": ["WrenForCausalLM"],
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_DIM,
    "num_hidden_layers": LAYERS,
    "intermediate_size": HIDDEN,
    "vocab_size": VOCAB,
    "max_position_embeddings": 96,
    "rope_theta": 5000.0,
    "window": WINDOW,
    "initializer_range": 0.02,
}


@pytest.fixture
def wren(tmp_path, monkeypatch):
    """The guide's file in a folder of the package's path, found as families are when the package is imported."""
    guide = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    section = guide[guide.index("## A new family") :]
    (tmp_path / "wren.py").write_text(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1])
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path)])
    found = registry.find_families(families)
    monkeypatch.setitem(FAMILIES, "wren", found["wren"])
    yield
    del sys.modules[f"{families.__name__}.wren"]
    del families.wren


def test_the_guides_file_is_enough(wren, tmp_path):
    rng = np.random.default_rng(5)
    rows = {"tokens": (VOCAB, WIDTH), "last_norm": (WIDTH,)}
    for i in range(LAYERS):
        block = {"first_norm": (WIDTH,), "second_norm": (WIDTH,), "out": (WIDTH, HEADS * HEAD_DIM)}
        block |= {"qkv": ((HEADS + 2 * KV_HEADS) * HEAD_DIM, WIDTH), "up": (HIDDEN, WIDTH), "down": (HIDDEN, WIDTH)}
        rows |= {f"blocks.{i}.{name}": shape for name, shape in block.items()}
    stored = {f"wren.{name}.weight": rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in rows.items()}
    stored["lm_head.weight"] = rng.normal(0, 0.3, (VOCAB, WIDTH)).astype(np.float32)
    stored["wren.blocks.0.inv_freq"] = np.zeros(HEAD_DIM // 2, np.float32)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_file(stored, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    ids = rng.integers(0, VOCAB, 50).tolist()
    expected = reference({name.removeprefix("wren."): t.astype(np.float64) for name, t in stored.items()}, ids)
    got = scores(folder_program(folder, "float32", "float32"), ids)
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


def test_a_field_that_the_file_does_not_name_is_refused_and_the_family_is_among_those_known(wren):
    with pytest.raises(UserError, match=r"wren fields that are not understood.*feathers"):
        spec_from_config(CONFIG | {"feathers": 3})
    with pytest.raises(UserError, match=r"LLMOS knows .*wren"):
        spec_from_config({"model_type": "lark"})


def reference(t, ids):
    """Wren, a token at a time: scores (T, V)."""
    x_TD = t["tokens.weight"][ids]
    for i in range(LAYERS):
        w = {name: t[f"blocks.{i}.{name}.weight"] for name in ("first_norm", "second_norm", "qkv", "out", "up", "down")}
        h_TD = normalised(x_TD, w["first_norm"])
        x_TD = x_TD + np.stack([attended(h_TD, w["qkv"], position) for position in range(len(ids))]) @ w["out"].T
        x_TD = x_TD + np.maximum(normalised(x_TD, w["second_norm"]) @ w["up"].T, 0) @ w["down"]
    return normalised(x_TD, t["last_norm.weight"]) @ t["lm_head.weight"].T


def normalised(x, difference):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * (1 + difference)


def attended(h_TD, qkv, position):
    """What the heads of one token gather, side by side."""
    seen = range(max(0, position - WINDOW + 1), position + 1)
    heads = qkv.reshape(HEADS + 2 * KV_HEADS, HEAD_DIM, -1)
    out = []
    for n in range(HEADS):
        key, value = heads[HEADS + n // 2], heads[HEADS + KV_HEADS + n // 2]
        query = turned(heads[n] @ h_TD[position], position)
        powers = np.exp([query @ turned(key @ h_TD[p], p) / np.sqrt(HEAD_DIM) for p in seen])
        out.append(sum(power * (value @ h_TD[p]) for power, p in zip(powers, seen, strict=True)) / powers.sum())
    return np.concatenate(out)


def turned(x, position):
    """Rotary positions by complex numbers."""
    half = HEAD_DIM // 2
    pairs = (x[:half] + 1j * x[half:]) * np.exp(1j * position * 5000.0 ** (-np.arange(half) / half))
    return np.concatenate([pairs.real, pairs.imag])


def scores(program, ids):
    executor = NativeExecutor(program, threads=2, n_pages=4, max_tokens=64, max_outputs=64)
    n = len(ids)
    batch = Batch(
        token_ids=ids,
        positions=list(range(n)),
        sequence=[0] * n,
        block_table=[[1, 3]],
        outputs=[Output(row=i) for i in range(n)],
        want_logits=True,
    )
    out = executor.step(batch).logits
    executor.close()
    return out
