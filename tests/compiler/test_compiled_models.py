"""Compiled code against transformers and against recorded tokens, for every target that this machine runs."""

import json

import numpy as np
import pytest

from llmos.compiler import TARGETS
from llmos.hardware import architecture, features
from llmos.runtime import Batch, NativeExecutor, Output
from tests.tiny_programs import folder_program

pytestmark = [pytest.mark.toolchain]
BOUND = {"float32": 1e-4, "bf16": 2e-2, "int8": 5e-2}  # of the largest logit


def targets():
    able = {target.name: target.runs_with(features()) for target in TARGETS.values()}
    able = {name: runs for name, runs in able.items() if TARGETS[name].architecture == architecture()}
    skip = {name: pytest.mark.skip(reason=f"cannot run target {name}") for name in able}
    return [pytest.param(name, marks=() if able[name] else skip[name]) for name in able]


def run(program, ids):
    executor = NativeExecutor(program, threads=2, n_pages=8, max_tokens=64, max_outputs=64)
    batch = Batch(
        token_ids=ids,
        positions=list(range(len(ids))),
        sequence=[0] * len(ids),
        block_table=[[3, 1]],
        outputs=[Output(row=i) for i in range(len(ids))],
        want_logits=True,
    )
    out = executor.step(batch).logits
    executor.close()
    return out


@pytest.mark.torch
@pytest.mark.parametrize("weights", ["float32", "bf16", "int8"])
@pytest.mark.parametrize("case", ["llama, llama3 rope", "llama, biases", "gpt2", "gpt2, own hidden size"])
def test_logits_are_those_of_transformers(case, weights, tmp_path):
    tiny = pytest.importorskip("tests.tiny_checkpoints", reason="transformers and torch are not installed")
    model = tiny.CASES[case]()
    tiny.save(model, tmp_path)
    ids = np.random.default_rng(1).integers(0, model.config.vocab_size, 50).tolist()
    expected = tiny.logits(model, ids)
    kv = "float32" if weights == "float32" else "bf16"
    got = run(folder_program(tmp_path, weights, kv), ids)
    assert np.abs(got - expected).max() <= BOUND[weights] * np.abs(expected).max()


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("kv", ["float32", "bf16", "int8"])
@pytest.mark.parametrize("weights", ["float32", "bf16", "int8"])
@pytest.mark.parametrize("case", ["llama", "llama, tied", "llama, linear rope", "llama, as many kv heads", "gpt2"])
def test_every_format_on_every_target(case, weights, kv, target, tmp_path):
    tiny = pytest.importorskip("tests.tiny_checkpoints", reason="transformers and torch are not installed")
    model = tiny.CASES[case]()
    tiny.save(model, tmp_path)
    ids = np.random.default_rng(2).integers(0, model.config.vocab_size, 37).tolist()
    expected = tiny.logits(model, ids)
    got = run(folder_program(tmp_path, weights, kv, target), ids)
    bound = max(BOUND[weights], BOUND[kv])
    assert np.abs(got - expected).max() <= bound * np.abs(expected).max()


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("file", ["stories260K.bin", "stories260K_v1.bin"])
def test_stories260k_gives_the_recorded_tokens(data_dir, file, target, monkeypatch):
    from llmos.api import load_model

    monkeypatch.setenv("LLMOS_TARGET", target)
    folder = data_dir / "real-weights"
    with load_model(str(folder / file)) as model:
        for case in json.loads((folder / "stories260K_expected.json").read_text())["greedy"]:
            assert model.generate_tokens(case["prompt_ids"], temperature=0, max_tokens=64) == case["generated_ids"]
