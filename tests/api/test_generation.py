"""A generation is the state of its own iteration, and leaves nothing running when nobody holds it."""

import gc
import subprocess
import sys

import pytest

import llm

pytestmark = pytest.mark.toolchain
FOX = "The quick brown fox jumps over the lazy dog."
LONG = {"temperature": 0, "max_tokens": 400, "ignore_eos": True}


@pytest.fixture(scope="module")
def model():
    with llm.load_model("llmos-mini") as model:
        yield model


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0},
        {"temperature": 0.9, "top_k": 40, "seed": 5},
        {"temperature": 1.4, "top_k": 64, "top_p": 0.8, "min_p": 0.02, "seed": 6},
        {"temperature": 1.0, "top_k": 1, "seed": 7},
        {"temperature": 1.0, "top_k": 0, "seed": 8},
    ],
)
def test_asking_for_log_probabilities_changes_no_token(model, sampling):
    sampling = {"top_p": 1, "min_p": 0, "max_tokens": 60, "ignore_eos": True} | sampling
    largest_alone = model.generate(FOX, **sampling)
    whole_rows = model.generate(FOX, logprobs=True, **sampling)
    assert len(whole_rows.logprobs) == 60
    assert largest_alone.tokens == whole_rows.tokens


def test_a_second_iteration_gives_nothing_more(model):
    generation = model.start(FOX, temperature=0, max_tokens=8)
    text = "".join(generation)
    assert list(generation) == []
    assert generation.text == text == model.generate_text(FOX, temperature=0, max_tokens=8)


def test_an_iteration_that_was_left_goes_on(model):
    whole = model.generate_text(FOX, temperature=0, max_tokens=20)
    generation = model.start(FOX, temperature=0, max_tokens=20)
    for _ in generation:
        break
    left = generation.text
    assert left
    assert left + "".join(generation) == generation.text == whole


def test_a_cancelled_generation_ends_with_what_was_drawn(model):
    generation = model.start(FOX, **LONG)
    first = next(generation)
    generation.cancel()
    assert first + "".join(generation) == generation.text
    assert generation.finish_reason == "cancelled"


@pytest.mark.parametrize("begun", [True, False])
def test_a_generation_that_nobody_holds_is_cancelled(model, begun):
    generation = model.start(FOX, **LONG)
    if begun:
        next(generation)
    assert len(model.processes()) == 1
    del generation
    assert model.processes() == []


def test_the_collector_may_find_one_in_the_middle_of_a_step(model, monkeypatch):
    generation = model.start(FOX, **LONG)
    generation.itself = generation
    del generation
    real = model._executor.step

    def collecting(batch):
        gc.collect()
        return real(batch)

    monkeypatch.setattr(model._executor, "step", collecting)  # called where the engine's lock is held
    assert model.generate_tokens(FOX, temperature=0, max_tokens=2)
    assert model.processes() == []


def test_the_interpreter_ends_quietly_with_a_generation_begun():
    code = f"import llm; model = llm.load_model('llmos-mini'); g = model.start({FOX!r}); next(g)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
