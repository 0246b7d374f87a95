"""Every encoder gives the hidden rows that transformers gives, on random tiny weights at odd shapes."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.torch
tiny = pytest.importorskip("tests.tiny_encoders", reason="transformers and torch are not installed")

import torch  # noqa: E402

from llmos.api.opening import open_source  # noqa: E402
from llmos.core.errors import FormatError, UserError  # noqa: E402
from llmos.models import FAMILIES, forward, shapes, sources, spec_from_config  # noqa: E402
from llmos.ops.numpy_ops import NumpyOps  # noqa: E402
from llmos.ops.torch_ops import TorchOps  # noqa: E402
from llmos.weights import Parameters, open_checkpoint  # noqa: E402
from tests.tiny_checkpoints import save  # noqa: E402


def opened(folder):
    spec = spec_from_config(json.loads((folder / "config.json").read_text()))
    family = FAMILIES[spec.family]
    found = Parameters(
        open_checkpoint(folder), sources(spec), shapes(spec), prefixes=family.PREFIXES, unused=family.UNUSED
    )
    return spec, {name: found[name].float32().astype(np.float64) for name in found}


@pytest.mark.parametrize("case", tiny.CASES)
@pytest.mark.parametrize("length", [1, 41, 96])
def test_hidden_rows_are_those_of_transformers(case, length, tmp_path):
    model = tiny.CASES[case]()
    spec, w = opened(save(model, tmp_path))
    # without 1, which is RoBERTa's padding
    ids = np.random.default_rng(length).integers(2, spec.vocab, length).tolist()
    expected = tiny.hidden(model.double(), ids)
    positions = np.arange(length)
    ours = forward(NumpyOps(), spec, w, ids, positions)
    assert np.abs(ours - expected).max() <= 1e-5 * np.abs(expected).max()
    in_torch = {name: torch.from_numpy(value) for name, value in w.items()}
    theirs = forward(TorchOps(), spec, in_torch, torch.tensor(ids), torch.from_numpy(positions)).numpy()
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-9 * np.abs(ours).max())


def test_names_of_the_first_converter_are_read_as_those_of_today(tmp_path):
    from safetensors.torch import load_file, save_file

    model = tiny.bert()
    save(model, tmp_path)
    _, expected = opened(tmp_path)
    file = tmp_path / "model.safetensors"
    older = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = load_file(file)
    for today, then in older.items():
        tensors = {name.replace(today, then): tensor for name, tensor in tensors.items()}
    save_file(tensors, file, {"format": "pt"})
    assert np.array_equal(tiny.hidden(type(model).from_pretrained(tmp_path).eval(), [3, 4]), tiny.hidden(model, [3, 4]))
    _, found = opened(tmp_path)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"is_decoder": True}, "is_decoder"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"hidden_act": "mish"}, "hidden_act"),
        ({"num_attention_heads": 5}, "5 heads"),
        ({"depth_of_thought": 3}, "depth_of_thought"),
    ],
)
def test_what_would_change_the_mathematics_is_refused_by_name(changes, named):
    with pytest.raises(UserError, match=named):
        spec_from_config({"model_type": "bert", "hidden_size": 36, "num_attention_heads": 4} | changes)


def test_a_classifier_is_no_embedding_model(tmp_path):
    from transformers import BertForSequenceClassification

    save(tiny.bert(BertForSequenceClassification), tmp_path)
    with pytest.raises(
        FormatError, match=r"BertForSequenceClassification with a head.* \(classifier\.bias\).*made for embeddings"
    ):
        open_source(str(tmp_path))
