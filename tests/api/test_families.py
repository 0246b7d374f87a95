"""A folder of a family, loaded as users load it, goes on as transformers does; so does the bundle that is compiled from it."""

import numpy as np
import pytest

import llm
from tests.tiny_tokenizer import tokenizer_text

pytestmark = [pytest.mark.toolchain, pytest.mark.torch]
torch = pytest.importorskip("torch")
tiny = pytest.importorskip("tests.tiny_checkpoints", reason="transformers is not installed")
VOCAB = {"vocab_size": 260}
MODELS = {
    "experts": lambda: tiny.decoder("Mixtral", num_local_experts=5, sliding_window=20, **VOCAB),
    "pictures left out": lambda: tiny.gemma3(
        layer_types=["full_attention", "sliding_attention", "sliding_attention"], sliding_window=13, **VOCAB
    ),
    "long rope": lambda: tiny.decoder("Phi3", **tiny.long_rope(4, 40), **VOCAB),
}


@pytest.mark.parametrize("name", MODELS)
def test_greedy_tokens_are_those_of_transformers(name, tmp_path):
    theirs = MODELS[name]()
    folder = tiny.save(theirs, tmp_path / "folder")
    (folder / "tokenizer.json").write_text(tokenizer_text(), encoding="utf-8")
    ids = np.random.default_rng(4).integers(0, 258, 15).tolist()
    with torch.no_grad():
        every = theirs.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False, eos_token_id=None)
    expected = every[0, len(ids) :].tolist()
    with llm.load_model(str(folder)) as model:
        assert model.generate_tokens(ids, temperature=0, max_tokens=24) == expected
    llm.compile(str(folder), tmp_path / "model.llm", weights="float32")
    with llm.load_model(str(tmp_path / "model.llm")) as model:
        assert model.generate_tokens(ids, temperature=0, max_tokens=24) == expected
