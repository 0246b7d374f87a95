"""Bad recipes and bad data get one message that says what to do."""

import json

import pytest

from llmos.core.errors import FormatError, UserError
from llmos.trainer import train_file


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(recipe_file, match, error=UserError):
    with pytest.raises(error, match=match):
        train_file(recipe_file, progress=False)


def test_unknown_key_suggests_the_near_one(recipe_file):
    edit(recipe_file, "warmup_steps", "warm_up_steps")
    refused(recipe_file, "did you mean 'schedule.warmup_steps'")


def test_truncated_recipe_is_a_format_error(recipe_file):
    recipe_file.write_text(recipe_file.read_text()[:40])
    refused(recipe_file, "recipe.toml", FormatError)


def test_missing_recipe_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.toml"):
        train_file(tmp_path / "nowhere.toml", progress=False)


def test_stop_token_must_be_special(recipe_file):
    edit(recipe_file, 'stop = ["<|endoftext|>", "<|end|>"]', 'stop = ["<|stop|>"]')
    refused(recipe_file, "not in tokenizer.special")


@pytest.mark.torch
def test_missing_data_file_is_named(recipe_file):
    pytest.importorskip("torch")
    edit(recipe_file, "train.jsonl", "train2.jsonl")
    refused(recipe_file, r"no file .*train2\.jsonl")


@pytest.mark.torch
def test_bad_line_of_data_is_named_by_number(recipe_file):
    pytest.importorskip("torch")
    path = recipe_file.parent / "train.jsonl"
    path.write_text(json.dumps({"text": "fine"}) + "\n{broken\n")
    refused(recipe_file, "line 2", FormatError)


@pytest.mark.torch
def test_unknown_model_field_is_refused(recipe_file):
    pytest.importorskip("torch")
    edit(recipe_file, 'hidden_act = "silu"', 'hidden_act = "silu"\nsliding_window = 4')
    refused(recipe_file, "sliding_window")


@pytest.mark.torch
def test_sequences_longer_than_the_context_are_refused(recipe_file):
    pytest.importorskip("torch")
    edit(recipe_file, "length = 16\naccumulate", "length = 64\naccumulate")
    refused(recipe_file, "context is 32")


def test_evaluation_windows_may_not_leave_tokens_out(recipe_file):
    edit(recipe_file, "every_steps = 10\nlength = 16\n", "every_steps = 10\nstride = 17\n")
    refused(recipe_file, "evaluation.stride is 17; windows of 16 tokens")


@pytest.mark.torch
def test_tokenizer_larger_than_the_model_is_refused(recipe_file):
    pytest.importorskip("torch")
    edit(recipe_file, "vocab_size = 300", "vocab_size = 290")
    refused(recipe_file, "300 tokens, the model a vocabulary of 290")


@pytest.mark.torch
def test_everything_that_is_missing_is_named_at_once(recipe_file):
    edit(recipe_file, 'name = "text"\npath', "path")
    refused(recipe_file, "data.sources.*name is missing")
    recipe_file.write_text("[model]\nmodel_type = 'llama'\n")
    refused(recipe_file, "folder, data are missing; they must be given")


@pytest.mark.torch
def test_what_the_model_lacks_is_said_of_the_recipe(recipe_file):
    pytest.importorskip("torch")
    edit(recipe_file, "intermediate_size = 64\n", "")
    refused(recipe_file, r"the table \[model\] of the recipe: .*intermediate_size is missing")


def test_missing_torch_names_the_extra(recipe_file, monkeypatch):
    import sys

    for name in [
        name for name in sys.modules if name.startswith("llmos.trainer.") and name.endswith(("loop", "module"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(recipe_file, r"llmos\[train\]")


def test_a_model_that_predicts_no_next_token_is_not_trained(recipe_file):
    text, sizes = (
        recipe_file.read_text(),
        'model_type = "bert"\nhidden_size = 32\nnum_attention_heads = 2\nvocab_size = 300\n',
    )
    before, after = text.split("[model]\n", 1)
    rest = after[after.index("\n[") :] if "\n[" in after else ""
    recipe_file.write_text(f"{before}[model]\n{sizes}{rest}")
    refused(recipe_file, "bert cannot be trained: only decoders")
