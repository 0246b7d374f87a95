"""A run that was killed at any moment ends with the same bits as one that was left alone."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")
from safetensors.torch import load_file

from llmos.core.errors import FormatError, LlmosError, UserError
from llmos.trainer import loop, train_file

pytestmark = pytest.mark.torch

DRIVER = """
import os, signal, sys
from llmos.trainer import checkpoint, loop
from llmos.trainer.__main__ import main

def at(step, number):
    advance = loop.Trainer.advance
    def patched(self):
        if self.step == step:
            os.kill(os.getpid(), number)
        return advance(self)
    loop.Trainer.advance = patched

def in_second_save():
    hash_file, calls = checkpoint.sha256_file, []
    def patched(path):
        calls.append(path)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return hash_file(path)
    checkpoint.sha256_file = patched

{disturb}
sys.exit(main([{recipe!r}]))
"""


def drive(recipe, disturb):
    """Runs the recipe in a process of its own with something happening to it."""
    code = DRIVER.format(disturb=disturb, recipe=str(recipe))
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)


def final_state(recipe):
    return load_file(recipe.parent / "run" / "checkpoints" / "step-00000020.safetensors")


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].numpy().tobytes() == b[name].numpy().tobytes(), name


@pytest.fixture
def undisturbed(recipe_file, tmp_path):
    """The final state of a run that nothing happened to."""
    train_file(recipe_file, {"folder": str(tmp_path / "undisturbed")}, progress=False)
    return load_file(tmp_path / "undisturbed" / "checkpoints" / "step-00000020.safetensors")


@pytest.mark.parametrize("disturb", ["at(13, signal.SIGKILL)", "in_second_save()"])
def test_killed_run_resumes_to_the_same_bits(recipe_file, undisturbed, disturb):
    assert drive(recipe_file, disturb).returncode == -9
    result = train_file(recipe_file, progress=False)
    assert result.steps == 20
    assert_same_bits(final_state(recipe_file), undisturbed)


def test_ctrl_c_saves_and_exits_130(recipe_file, undisturbed):
    done = drive(recipe_file, "at(7, signal.SIGINT)")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert (recipe_file.parent / "run" / "checkpoints" / "step-00000008.safetensors").exists()
    train_file(recipe_file, progress=False)
    assert_same_bits(final_state(recipe_file), undisturbed)


def test_accumulated_gradients_equal_one_large_batch(recipe_file, tmp_path):
    states = []
    for name, sequences, accumulate in (("whole", 4, 1), ("split", 1, 4)):
        overrides = {
            "folder": str(tmp_path / name),
            "batch.sequences": str(sequences),
            "batch.accumulate": str(accumulate),
        }
        overrides |= {"schedule.steps": "5", "optimizer.name": "adamw"}
        train_file(recipe_file, overrides, progress=False)
        states.append(load_file(tmp_path / name / "checkpoints" / "step-00000005.safetensors"))
    for name in states[0]:
        if name.startswith("parameter:"):
            assert (states[0][name] - states[1][name]).abs().max() < 2e-4, name


def test_training_lowers_the_loss_and_the_bits_per_byte(recipe_file):
    short = train_file(recipe_file, {"schedule.steps": "5"}, progress=False)
    long = train_file(recipe_file, {"schedule.steps": "40"}, progress=False)
    assert long.loss < short.loss
    assert long.bits_per_byte["heldout"] < short.bits_per_byte["heldout"]


def test_a_damaged_checkpoint_is_named_with_the_way_out(recipe_file):
    train_file(recipe_file, progress=False)
    path = recipe_file.parent / "run" / "checkpoints" / "step-00000020.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(FormatError, match=r"step-00000020.*damaged.*go on from step 15"):
        train_file(recipe_file, progress=False)


def test_checkpoints_of_another_recipe_are_not_taken(recipe_file):
    train_file(recipe_file, progress=False)
    with pytest.raises(UserError, match="another recipe"):
        train_file(recipe_file, {"data.seed": "4"}, progress=False)


def test_nan_stops_with_the_step(recipe_file, monkeypatch):
    mean_loss, calls = loop.mean_loss, []

    def poisoned(spec, w, window):
        calls.append(1)
        return mean_loss(spec, w, window) * (float("nan") if len(calls) == 8 else 1.0)

    monkeypatch.setattr(loop, "mean_loss", poisoned)
    with pytest.raises(LlmosError, match=r"step 8: the loss is nan.*after step 5"):
        train_file(recipe_file, progress=False)
