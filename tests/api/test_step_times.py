"""Times of the operations of models whose steps are unlike: encoders, and encoders with decoders. Noting them changes no byte."""

import numpy as np
import pytest

import llm
from llmos.compiler import Options, build_graph, compile_code, machine_features, target_named
from llmos.models import spec_from_config
from llmos.native import include_dir, sources_hash
from llmos.plan import Roofs
from llmos.runtime import Batch, NativeExecutor, Output
from llmos.runtime.abi import load_library
from tests.tiny_programs import CONFIGS, random_program

pytestmark = pytest.mark.toolchain


def roofs() -> Roofs:
    peaks = {"float32_ops_per_s": 1e9, "bf16_ops_per_s": 2e9, "int8_ops_per_s": 8e9}
    return Roofs(target=target_named(None, machine_features()).name, threads=2, read_bytes_per_s=1e9, **peaks)


def timed(model: str, weights: str):
    graph = build_graph(spec_from_config(CONFIGS[model]), Options(weights=weights, kv="bf16"))
    target = target_named(None, machine_features())
    return compile_code(graph, target, include=include_dir(), kernels_hash=sources_hash(), timed=True)


@pytest.mark.parametrize(("model", "weights"), [("llama", "int8"), ("experts", "int4")])
def test_code_that_notes_times_computes_the_same_bytes(model: str, weights: str):
    executor = NativeExecutor(random_program(weights, "bf16", model=model), threads=2, n_pages=4)
    batch = Batch(list(range(40)), list(range(40)), [0] * 40, [[0, 1]])
    batch.outputs, batch.want_logits = [Output(row=i) for i in range(40)], True
    try:
        plain = executor.step(batch).logits
        executor.run_by(load_library(str(timed(model, weights))))
        noted = executor.step(batch).logits
    finally:
        executor.close()
    np.testing.assert_array_equal(plain, noted)


def test_code_of_another_graph_is_not_run_on_a_models_weights():
    executor = NativeExecutor(random_program("int8", "bf16"), threads=1, n_pages=4)
    try:
        with pytest.raises(AssertionError, match="another graph"):
            executor.run_by(load_library(str(timed("experts", "int8"))))
    finally:
        executor.close()


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["encoder", "encoder and decoder"])
def test_models_that_read_sources_or_do_not_speak_are_measured_too(kind: str, tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed")
    from tests.models.test_encoder_decoder import random_t5
    from tests.tiny_encoders import bert

    (bert() if kind == "encoder" else random_t5()).save_pretrained(tmp_path / "model")
    made = llm.compile(str(tmp_path / "model"), tmp_path / "x.llm", explain=True, roofs=roofs())
    assert [step.name for step in made.explanation.steps] == (["text"] if kind == "encoder" else ["decode", "prefill"])
    for step in made.explanation.steps:
        assert 0 < step.measured_s < step.noted_s
    assert ("The encoder" in str(made)) == (kind != "encoder")
