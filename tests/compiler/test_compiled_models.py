"""Compiled code against transformers and against recorded tokens, for every target that this machine runs."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from llmos.compiler import TARGETS
from llmos.hardware import architecture, features
from llmos.models import Experts, spec_from_config
from llmos.runtime import Batch, NativeExecutor, Output
from llmos.weights import pack, unpack
from tests.tiny_programs import folder_program

try:
    from tests.tiny_checkpoints import CASES
except ImportError:
    CASES = {}

pytestmark = [pytest.mark.toolchain]
FORMATS = ["float32", "float16", "bf16", "int8", "int4", "uint4"]
# of the largest logit; int4 and uint4 beside a reference with their weights, so that what errs is the activations of int8
BOUND = {"float32": 1e-4, "float16": 2e-3, "bf16": 2e-2, "int8": 5e-2, "int4": 5e-2, "uint4": 5e-2}


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


# One of each family. Its parts are compiled in float32 by the fast tests, in other formats by a few of them and the slow ones.
ONE_OF_EACH = [
    "gemma",
    "gemma3_text",
    "gpt_neox",
    "granite",
    "mistral",
    "olmo2",
    "opt, norms after",
    "qwen2, late windows",
]
ONE_OF_EACH += ["qwen3", "starcoder2"]
QUANTISED = {
    "falcon, grouped": "bf16",
    "gemma2": "int8",
    "mixtral": "bf16",
    "phi3, part of a head turns": "bf16",
    "qwen3_moe, some dense": "int8",
    "stablelm, parallel": "int8",
}
THOROUGH = ["llama, llama3 rope", "llama, biases", "gpt2", "gpt2, own hidden size"]
FAST = [(case, weights) for case in THOROUGH for weights in ("float32", "bf16", "int8")]
FAST += [(case, weights) for case in THOROUGH[1:3] for weights in ("float16", "int4", "uint4")]
FAST += [(case, "float32") for case in ONE_OF_EACH]
FAST += [(case, weights) for case, format in QUANTISED.items() for weights in ("float32", format)]


def compare(case, weights, kv, target, n_tokens, folder, slack=1):
    """Scores of compiled code against those of transformers, the bound taken of the coarsest format; 50 tokens are two pages."""
    tiny = pytest.importorskip("tests.tiny_checkpoints", reason="transformers and torch are not installed")
    model = tiny.CASES[case]()
    tiny.save(model, folder)
    ids = np.random.default_rng(1).integers(0, model.get_input_embeddings().num_embeddings, n_tokens).tolist()
    if weights in ("int4", "uint4"):
        tiny.change_matrices(model, lambda w: unpack(pack(w, weights), *w.shape, weights))
    expected = tiny.logits(model, ids)
    got = run(folder_program(folder, weights, kv, target), ids)
    errors = np.abs(got - expected).max(-1) / np.abs(expected).max()
    if weights != "float32" and any(isinstance(layer.mlp, Experts) for layer in spec_of(folder).layers):
        errors = np.sort(errors)[: n_tokens * 3 // 4]  # rounding may choose another expert where two are nearly equal
    assert errors.max() <= slack * max(BOUND[weights], BOUND[kv])
    if weights == kv == "float32":
        top = np.sort(expected, -1)
        clear = top[:, -1] - top[:, -2] > 1e-3
        np.testing.assert_array_equal(got.argmax(-1)[clear], expected.argmax(-1)[clear])


def spec_of(folder):
    return spec_from_config(json.loads((folder / "config.json").read_text()))


KV = ("float32", "float16", "bf16", "int8")


def every_pair_of_formats() -> Iterator[Any]:
    """One model with all of weights, keys and values and targets; the others with each two of them, the third in turn."""
    for i, case in enumerate(("llama", "llama, tied", "llama, linear rope", "llama, as many kv heads", "gpt2")):
        for (j, weights), (k, target) in itertools.product(enumerate(FORMATS), enumerate(targets())):
            for kv in KV if case == "llama" else (KV[(i + j + k) % len(KV)],):
                yield pytest.param(case, weights, kv, *target.values, marks=target.marks)


def every_case() -> Iterator[Any]:
    """Each case on each target in float32, and in bf16 and int8 by turns."""
    for (i, case), (k, target) in itertools.product(enumerate(CASES), enumerate(targets())):
        for weights in ("float32", ("bf16", "int8")[(i + k) % 2]):
            yield pytest.param(case, weights, *target.values, marks=target.marks)


@pytest.mark.torch
@pytest.mark.parametrize(("case", "weights"), FAST)
def test_logits_are_those_of_transformers(case, weights, tmp_path):
    compare(case, weights, weights if weights in ("float32", "float16") else "bf16", None, 50, tmp_path)


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize(("case", "weights", "kv", "target"), [*every_pair_of_formats()])
def test_every_format_on_every_target(case, weights, kv, target, tmp_path):
    compare(case, weights, kv, target, 37, tmp_path)


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize(("case", "weights", "target"), [*every_case()])
def test_every_case_of_every_family_on_every_target(case, weights, target, tmp_path):
    slack = 2 if weights == "int8" else 1  # of widths below 100 with large random values; models do better
    compare(case, weights, weights, target, 50, tmp_path, slack)


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("file", ["stories260K.bin", "stories260K_v1.bin"])
def test_stories260k_gives_the_recorded_tokens(data_dir, file, target, monkeypatch):
    from llmos.api import load_model

    monkeypatch.setenv("LLMOS_TARGET", target)
    folder = data_dir / "real-weights"
    with load_model(str(folder / file)) as model:
        for case in json.loads((folder / "stories260K_expected.json").read_text())["greedy"]:
            assert model.generate_tokens(case["prompt_ids"], temperature=0, max_tokens=64) == case["generated_ids"]
