"""What `Model.info` and `llmos info` tell of a model's parts, on tiny random models of transformers."""

import json

import pytest
from click.testing import CliRunner

pytestmark = [pytest.mark.torch, pytest.mark.toolchain]
tiny = pytest.importorskip("tests.tiny_checkpoints", reason="transformers and torch are not installed")

from llmos.api import load_model  # noqa: E402
from llmos.cli.info import command  # noqa: E402
from tests import tiny_encoders  # noqa: E402
from tests.models.test_encoder_decoder import random_t5  # noqa: E402

PARTS = ("experts", "experts_per_token", "sliding_window", "sliding_window_layers", "encoder_layers", "embedding")
POOLED = {"pooling": "mean", "normalize": None, "max_tokens": None, "prompts": []}


@pytest.mark.parametrize(
    ("make", "architecture", "parts"),
    [
        (tiny.CASES["gemma2"], "decoder-only", {"sliding_window": 13, "sliding_window_layers": 1}),
        (lambda: random_t5(num_layers=1), "encoder-decoder", {"encoder_layers": 1}),
        (tiny_encoders.CASES["bert"], "encoder-only", {"embedding": POOLED}),
    ],
    ids=["windows", "encoder and decoder", "encoder"],
)
def test_info_tells_the_parts_that_a_model_has(make, architecture, parts, tmp_path):
    with load_model(tiny.save(make(), tmp_path)) as model:
        facts = model.info()
    assert facts["architecture"] == architecture
    assert {name: facts[name] for name in PARTS} == dict.fromkeys(PARTS) | parts


def test_the_shell_shows_experts_and_windows_as_the_config_states_them(tmp_path):
    folder = str(tiny.save(tiny.CASES["mixtral, window"](), tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    facts = json.loads(CliRunner().invoke(command, [folder, "--json"]).stdout)
    assert facts["experts"] == config["num_local_experts"] == 3
    assert facts["experts_per_token"] == config["num_experts_per_tok"] == 1
    assert facts["sliding_window"] == config["sliding_window"] == 11
    assert facts["sliding_window_layers"] == config["num_hidden_layers"]
    lines = [line.split(":") for line in CliRunner().invoke(command, [folder]).stdout.splitlines()]
    shown = {label: value.strip() for label, *rest in lines for value in rest if value.startswith(" ")}
    assert (shown["experts"], shown["experts per token"]) == ("3", "1")
    assert (shown["sliding window"], shown["sliding window layers"]) == ("11", str(config["num_hidden_layers"]))
    assert shown["architecture"] == "decoder-only" and "encoder layers" not in shown
