"""LongRoPE: the context that a model is loaded with decides its angles, as transformers' do for texts within and beyond."""

import json

import numpy as np
import pytest

from llmos.api.limits import chosen_context
from llmos.models import spec_from_config
from llmos.runtime import Batch, NativeExecutor, Output
from tests.tiny_programs import folder_program

pytestmark = [pytest.mark.toolchain, pytest.mark.torch]
tiny = pytest.importorskip("tests.tiny_checkpoints", reason="transformers and torch are not installed")
ORIGINAL = 40


@pytest.fixture(scope="module")
def model():
    return tiny.decoder("Phi3", **tiny.long_rope(4, ORIGINAL))


@pytest.mark.parametrize(("n_tokens", "wanted", "context"), [(ORIGINAL, None, ORIGINAL), (60, 160, 160)])
def test_angles_are_those_of_transformers_within_the_original_context_and_beyond(
    model, n_tokens, wanted, context, tmp_path
):
    tiny.save(model, tmp_path)
    spec = spec_from_config(json.loads((tmp_path / "config.json").read_text()))
    assert chosen_context(spec, wanted) == context
    ids = np.random.default_rng(2).integers(0, spec.vocab, n_tokens).tolist()
    expected = tiny.logits(model, ids)
    got = scores(folder_program(tmp_path, "float32", "float32", context=context), ids)
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


def test_a_short_text_in_a_long_context_has_the_long_angles(model, tmp_path):
    tiny.save(model, tmp_path)
    ids = np.random.default_rng(3).integers(0, 97, 60).tolist()
    expected = tiny.logits(model, ids)[:20]
    got = scores(folder_program(tmp_path, "float32", "float32", context=160), ids[:20])
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.abs(got - tiny.logits(model, ids[:20])).max() > 1e-2 * np.abs(expected).max()


def scores(program, ids):
    executor = NativeExecutor(program, threads=2, n_pages=8, max_tokens=64, max_outputs=64)
    n = len(ids)
    batch = Batch(
        token_ids=ids,
        positions=list(range(n)),
        sequence=[0] * n,
        block_table=[[2, 5]],
        outputs=[Output(row=i) for i in range(n)],
        want_logits=True,
    )
    out = executor.step(batch).logits
    executor.close()
    return out
