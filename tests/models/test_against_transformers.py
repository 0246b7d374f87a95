"""Every family computes what transformers computes, on random tiny weights at odd shapes."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.torch
tiny = pytest.importorskip("tests.tiny_checkpoints", reason="transformers and torch are not installed")

from llmos.models import FAMILIES, forward, shapes, sources, spec_from_config  # noqa: E402
from llmos.ops.numpy_ops import NumpyOps  # noqa: E402
from llmos.weights import Parameters, open_checkpoint  # noqa: E402


@pytest.mark.parametrize("case", tiny.CASES)
def test_logits_and_greedy_tokens_agree(case, tmp_path):
    model = tiny.CASES[case]().double()
    tiny.save(model.float(), tmp_path)
    spec = spec_from_config(json.loads((tmp_path / "config.json").read_text()))
    family = FAMILIES[spec.family]
    found = Parameters(
        open_checkpoint(tmp_path),
        sources(spec),
        shapes(spec),
        prefixes=family.PREFIXES,
        unused=family.UNUSED,
        tied=spec.tied,
    )
    w = {name: found[name].float32().astype(np.float64) for name in found}
    ids = np.random.default_rng(1).integers(0, spec.vocab, 41).tolist()
    ours = forward(NumpyOps(), spec, w, ids, np.arange(len(ids)))
    theirs = tiny.logits(model.double(), ids)
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    top = np.sort(theirs, -1)
    clear = top[:, -1] - top[:, -2] > 1e-3
    assert clear.any()
    np.testing.assert_array_equal(ours.argmax(-1)[clear], theirs.argmax(-1)[clear])
