"""Memory of a training step, against a process that takes two of them."""

import subprocess
import sys

import pytest

from llmos.models import spec_from_config
from llmos.plan import training

CONFIG = {
    "model_type": "llama",
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "num_hidden_layers": 4,
    "intermediate_size": 768,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "vocab_size": 8192,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
SPEC = spec_from_config(CONFIG)
STEPS = f"""
import re
from pathlib import Path
from llmos.hardware import resident_bytes
from llmos.models import spec_from_config
held = resident_bytes()
import torch
from llmos.trainer.module import initial_parameters, mean_loss
from llmos.trainer.optimizer import make_optimizers
from llmos.trainer.recipe import Optimizer
torch.set_num_threads(1)
spec = spec_from_config({CONFIG!r})
w = initial_parameters(spec, 0)
optimizers = make_optimizers(w, Optimizer())
for _ in range(2):
    with torch.autocast("cpu", torch.bfloat16):
        loss = mean_loss(spec, w, torch.randint(0, 8192, (8, 129)))
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
print(held, peak)
"""


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not Linux")
def test_the_peak_of_a_training_step_is_within_fifteen_percent():
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    held, peak = map(int, done.stdout.split())
    planned = training(SPEC, held_bytes=held, sequences=8, length=128)
    assert planned.peak_bytes == pytest.approx(peak, rel=0.15)


@pytest.mark.parametrize("more", [{"sequences": 16}, {"length": 256}])
def test_more_tokens_take_more_activations_and_no_more_parameters(more):
    settings = {"sequences": 8, "length": 128}
    little, much = (training(SPEC, held_bytes=0, **settings | changed) for changed in ({}, more))
    sizes = [{part.name: part.n_bytes for part in made.peak.parts} for made in (little, much)]
    for name in ("activations", "scores"):
        assert sizes[1][name] == 2 * sizes[0][name]
    for name in ("parameters", "gradients", "moments"):
        assert sizes[1][name] == sizes[0][name]


def test_a_token_keeps_what_the_experts_that_work_on_it_made_and_no_others():
    """A mixture in which two of eight experts work on a token keeps as much as one of two, both of which do, but for the router."""
    common = CONFIG | {"model_type": "qwen3_moe"}
    common |= {"num_experts_per_tok": 2, "moe_intermediate_size": 256}
    sizes = []
    for count in (2, 8):
        made = training(spec_from_config(common | {"num_experts": count}), held_bytes=0, sequences=8, length=128)
        sizes.append(next(part.n_bytes for part in made.peak.parts if part.name == "activations"))
    router = 8 * 128 * 4 * 2 * 6  # tokens, layers, bytes of bf16, experts more
    assert sizes[1] == sizes[0] + router
