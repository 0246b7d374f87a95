"""What a generation_config.json decides, and what of it is named because it is not done."""

import json
import shutil
import warnings

import pytest
from transformers import GenerationConfig

import llm
from llmos.api.model_defaults import _NEUTRAL, _NO_MATTER, TAKEN, unapplied
from llmos.api.sampling import settings_from
from llmos.hub import resolve


def copy_of_mini(folder, **generation):
    """The embedded model with fields put into its generation_config.json."""
    for file in resolve("llmos-mini").path.iterdir():
        shutil.copyfile(file, folder / file.name)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | generation))
    return str(folder)


def decided(**generation):
    chosen = settings_from({}, generation, 10)
    return chosen.temperature, chosen.top_p, chosen.repetition_penalty, chosen.min_tokens


def test_do_sample_false_is_greedy_and_penalties_hold_all_the_same():
    assert decided(do_sample=False, repetition_penalty=5.0, min_new_tokens=2) == (0.0, 0.95, 5.0, 2)
    assert decided(do_sample=False, temperature=0.6) == (0.0, 0.95, 1.0, 0)
    assert decided(do_sample=False, top_p=0.0, top_k=-1) == (0.0, 0.95, 1.0, 0)


def test_without_do_sample_what_is_stated_holds_over_our_defaults():
    assert decided() == (0.8, 0.95, 1.0, 0)
    assert decided(do_sample=None) == (0.8, 0.95, 1.0, 0)
    assert decided(temperature=0.3, repetition_penalty=1.2) == (0.3, 0.95, 1.2, 0)
    assert decided(do_sample=True, temperature=0.3, top_p=None) == (0.3, 0.95, 1.0, 0)


def test_every_field_of_transformers_is_sorted_once():
    names = set(vars(GenerationConfig())) - {"_commit_hash", "generation_kwargs"}
    asked_by_any_value = names - _NO_MATTER - set(TAKEN.values()) - _NEUTRAL.keys()
    assert asked_by_any_value == {
        *("dola_layers", "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id"),
        *("max_time", "top_h", "watermarking_config"),
    }
    assert not _NO_MATTER & _NEUTRAL.keys()
    assert not set(TAKEN.values()) & (_NO_MATTER | _NEUTRAL.keys())


def test_the_defaults_of_transformers_ask_for_nothing():
    defaults = GenerationConfig._get_default_generation_params()
    assert unapplied(defaults) == []
    assert unapplied(GenerationConfig().to_dict()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("no_repeat_ngram_size", 3),
        ("suppress_tokens", [1, 2]),
        ("bad_words_ids", [[5]]),
        ("typical_p", 0.9),
        ("forced_bos_token_id", 0),
        ("num_beams", 4),
        ("unheard_of", False),
    ],
)
def test_what_is_not_done_is_named_with_its_value(field, value):
    assert unapplied({field: value, "temperature": 0.5}) == [f"{field}={value!r}"]
    assert unapplied({field: None}) == []


@pytest.mark.toolchain
def test_a_model_that_asks_for_more_says_so_once_and_runs(tmp_path):
    name = copy_of_mini(tmp_path, no_repeat_ngram_size=3, typical_p=1.0, unheard_of="x")
    with pytest.warns(llm.ModelNotice) as caught:
        model = llm.load_model(name)
    assert [str(notice.message) for notice in caught] == [
        f"{name}: generation_config.json asks for no_repeat_ngram_size=3, unheard_of='x', which LLMOS does not do yet"
    ]
    assert model.generate_tokens("Once", max_tokens=2, ignore_eos=True)
    model.close()


@pytest.mark.toolchain
def test_a_bundle_says_it_too(tmp_path):
    (tmp_path / "source").mkdir()
    llm.compile(copy_of_mini(tmp_path / "source", suppress_tokens=[7]), tmp_path / "x.llm")
    with pytest.warns(llm.ModelNotice, match=r"suppress_tokens=\[7\]"):
        llm.load_model(str(tmp_path / "x.llm")).close()


@pytest.mark.toolchain
def test_a_model_that_asks_for_nothing_more_says_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        llm.load_model(copy_of_mini(tmp_path, no_repeat_ngram_size=0, use_cache=False)).close()


@pytest.mark.toolchain
def test_a_tokenizer_that_asks_for_more_says_so(tmp_path):
    name = copy_of_mini(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"add_eos_token": True}))
    with pytest.warns(llm.ModelNotice, match=r": tokenizer_config\.json asks for add_eos_token=True, which"):
        llm.load_model(name).close()
