"""What is not understood is refused by name."""

import pytest

from llmos.core.errors import UserError
from llmos.models import CATALOGUE, DEFAULT_MODEL, lookup, parameter_count, shapes, spec_from_config

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "vocab_size": 50,
    "max_position_embeddings": 64,
}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "falcon"}, "falcon.*gpt2, llama"),
        ({"model_type": None}, "model_type is missing"),
        ({"use_new_thing": 3}, "use_new_thing"),
        ({"hidden_act": "swish9"}, "swish9"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "odd": 1}}, "odd"),
        ({"num_key_value_heads": 3}, "multiple of kv_heads"),
        ({"vocab_size": "many"}, "vocab_size must be int"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_a_config_that_is_not_understood_is_refused_by_name(change, named):
    with pytest.raises(UserError, match=named):
        spec_from_config(LLAMA | change)


def test_a_missing_field_is_named():
    with pytest.raises(UserError, match="rms_norm_eps is missing"):
        spec_from_config({name: value for name, value in LLAMA.items() if name != "rms_norm_eps"})


def test_equal_layers_are_one_kind():
    spec = spec_from_config(LLAMA)
    assert len(spec.layers) == 2
    assert len(spec.layer_kinds) == 1


def test_parameter_count_is_the_sum_of_shapes():
    spec = spec_from_config(LLAMA | {"tie_word_embeddings": True})
    layer = 32 * 32 + 2 * 16 * 32 + 32 * 32 + 3 * 32 * 48 + 2 * 32
    assert parameter_count(spec) == 50 * 32 + 2 * layer + 32
    assert "head" not in shapes(spec)


@pytest.mark.parametrize("name", ["gpt-3", "lamda", "bard", "GPT-3"])
def test_unpublished_models_resolve_to_the_embedded_one_and_say_so(name):
    entry = lookup(name)
    assert entry.embedded == DEFAULT_MODEL
    assert "never published" in entry.notice
    assert ("OPT" in entry.notice) == (entry.name == "gpt-3")


def test_a_catalogue_entry_leads_to_exactly_one_place():
    for entry in CATALOGUE.values():
        assert (entry.embedded is None) != (entry.hub_id is None)
