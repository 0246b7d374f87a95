"""Real weights from GGUF files: `llmos run model.gguf` says what the model says elsewhere, and what llama.cpp says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import llm
from llmos.api.compile import compile_model
from llmos.core.env import environment
from tests.gguf_files import KINDS, PLAIN
from tests.stories_gguf import write_stories

pytestmark = [pytest.mark.data, pytest.mark.toolchain]

PROMPT = [1, 403, 407]
TEXT = "Once upon a time, Zoë met  3 dragons.\n"


@pytest.fixture
def weights(data_dir) -> Path:
    return data_dir / "real-weights"


def test_a_gguf_file_says_what_the_model_says(weights, tmp_path):
    path = write_stories(tmp_path / "stories.gguf", weights)
    expected = json.loads((weights / "stories260K_expected.json").read_text())["greedy"][0]
    with llm.load_model(path) as model:
        assert model.info()["formats"]["weights"] == "float32" and model.info()["formats"]["checkpoint"] == "F32"
        assert model.generate_tokens(expected["prompt_ids"], max_tokens=64, temperature=0) == expected["generated_ids"]
        text = model.generate_text("Once upon a time", max_tokens=20, temperature=0)
    assert expected["text"].startswith("Once upon a time" + text[:20])


def test_a_bundle_made_from_a_gguf_file_says_the_same(weights, tmp_path):
    path = write_stories(tmp_path / "stories.gguf", weights, "Q8_0")
    compile_model(str(path), tmp_path / "stories.llm")
    with llm.load_model(path) as one, llm.load_model(tmp_path / "stories.llm") as other:
        assert one.info()["formats"]["matrices"].keys() == {
            "float16"
        }  # rows that are no whole blocks, kept as they are
        assert one.info()["formats"]["weights"] == other.info()["formats"]["weights"] == "int8"
        assert one.tokenize(TEXT) == other.tokenize(TEXT)
        assert one.generate_tokens(PROMPT, max_tokens=20, temperature=0) == other.generate_tokens(
            PROMPT, max_tokens=20, temperature=0
        )


@pytest.fixture
def reference():
    """Asks llama.cpp, in the interpreter that LLMOS_TEST_LLAMA_CPP names or else in this one."""
    python = environment().test_llama_cpp or sys.executable
    if subprocess.run([python, "-c", "import llama_cpp"], capture_output=True).returncode:
        pytest.skip("llama_cpp is not installed")
    script = Path(__file__).parents[1] / "llama_cpp_reference.py"

    def ask(path: Path, ids: list[int] = (), text: str | None = None, n: int = 0, **quantise: str) -> dict:
        request = json.dumps({"path": str(path), "ids": list(ids), "text": text, "n": n} | quantise)
        done = subprocess.run([python, str(script)], input=request, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    return ask


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0"])
def test_greedy_tokens_are_llama_cpps(reference, weights, tmp_path, kind):
    path = write_stories(tmp_path / "stories.gguf", weights, kind)
    theirs = reference(path, PROMPT, TEXT, 60)
    for format in ("int8", "float32") if kind in ("Q8_0", "Q4_0") else (None, "float32"):
        with llm.load_model(path, weights=format) as model:
            assert model.tokenize(TEXT) == theirs["ids"]
            assert model.generate_tokens(PROMPT, max_tokens=60, temperature=0, ignore_eos=True) == theirs["greedy"]


MIXTURES = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_1", "IQ4_NL", "Q3_K_M", "Q2_K")
NEARLY_EQUAL = 0.2  # nats; llama.cpp rounds activations to eight bits here, so tokens this near may change places


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("kind", MIXTURES)
def test_greedy_tokens_of_files_that_llama_cpp_quantised_are_its_own(reference, tmp_path, kind):
    """The embedded model, whose rows are whole blocks of 256 values, in the mixtures that people download."""
    models = pytest.importorskip("tests.gguf_models", reason="transformers and torch are not installed")
    from transformers import AutoModelForCausalLM

    with llm.load_model("llmos-mini") as mini:
        folder, prompts = mini.info()["path"], [mini.tokenize(text) for text in ("Once upon a time", "The quick brown")]
    trained = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    path = models.write_model(tmp_path / "mini.gguf", models.WIDE["llama"], trained)
    reference(path, to=str(tmp_path / "small.gguf"), kind=kind)
    with llm.load_model(tmp_path / "small.gguf", weights="float32") as model:
        for prompt in prompts:
            theirs = reference(tmp_path / "small.gguf", prompt, n=40)["greedy"]
            ours = [_greedy(model, prompt + theirs[:i]) for i in range(len(theirs))]
            others = [i for i in range(len(theirs)) if ours[i] != theirs[i]]
            assert len(others) <= len(theirs) // 10
            for i in others:
                before = prompt + theirs[:i]
                assert model.score([*before, ours[i]])[-1] - model.score([*before, theirs[i]])[-1] < NEARLY_EQUAL


def _greedy(model: llm.Model, ids: list[int]) -> int:
    return model.generate_tokens(ids, max_tokens=1, temperature=0, ignore_eos=True)[0]


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("kind", [*PLAIN, *KINDS])
def test_scores_are_llama_cpps_for_every_type(reference, tmp_path, kind):
    """Random blocks of every type, and the scores of given tokens.

    llama.cpp rounds activations to float16 or eight bits for all types but F32; our side has none of that.
    """
    models = pytest.importorskip("tests.gguf_models", reason="transformers and torch are not installed")
    case = models.WIDE["llama"]
    path = models.write_model(tmp_path / "x.gguf", case, case.model(), kind)
    ids = np.random.default_rng(2).integers(0, 64, 24).tolist()
    theirs = np.array(reference(path, ids)["logits"])
    theirs -= np.logaddexp.reduce(theirs, axis=1, keepdims=True)
    with llm.load_model(path, weights="float32") as model:
        ours = np.array(model.score(ids)[1:])
    wanted = theirs[np.arange(len(ids) - 1), ids[1:]]
    assert np.abs(ours - wanted).max() <= (1e-3 if kind == "F32" else 5e-2) * np.abs(theirs).max()
