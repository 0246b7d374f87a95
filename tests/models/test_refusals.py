"""What is not understood is refused by name."""

import math

import pytest

from llmos.core.errors import UserError
from llmos.models import (
    CATALOGUE,
    DEFAULT_MODEL,
    Rope,
    inverse_frequencies,
    lookup,
    parameter_count,
    shapes,
    spec_from_config,
)

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
        ({"model_type": "imaginary"}, "imaginary.*gpt2.*llama.*CONTRIBUTING"),
        ({"model_type": "lama"}, "did you mean 'llama'"),
        ({"model_type": None}, "model_type is missing"),
        ({"use_new_thing": 3}, "use_new_thing"),
        ({"hidden_act": "swish9"}, "swish9"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "dynamic"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "odd": 1}}, "odd"),
        (
            {"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
            "say different things",
        ),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "rope_theta": 5e5}, "rope_theta differs"),
        ({"rope_scaling": {"type": "linear", "factor": 2, "rope_theta": 5e5}, "rope_theta": 1e4}, "rope_theta differs"),
        ({"num_key_value_heads": 3}, "multiple of kv_heads"),
        ({"vocab_size": "many"}, "vocab_size must be int"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_a_config_that_is_not_understood_is_refused_by_name(change, named):
    with pytest.raises(UserError, match=named):
        spec_from_config(LLAMA | change)


LLAMA3 = {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}
LLAMA3 |= {"original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rms_norm_eps": 1e300}, "norm eps must lie between"),
        ({"rms_norm_eps": 1e-60}, "norm eps"),
        ({"rms_norm_eps": 0}, "norm eps"),
        ({"rms_norm_eps": -1e-5}, "norm eps"),
        ({"rms_norm_eps": math.nan}, "rms_norm_eps"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps"),
        ({"rope_theta": 5e-324}, "rope theta"),
        ({"rope_theta": 1e300}, "rope theta"),
        ({"rope_theta": 0}, "rope theta"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 1e300}}, "rope factor"),
        ({"rope_scaling": LLAMA3 | {"factor": 1e300}}, "rope factor"),
        ({"rope_scaling": LLAMA3 | {"low_freq_factor": -1e308}}, "rope low_freq_factor"),
        ({"rope_scaling": LLAMA3 | {"high_freq_factor": 1e308}}, "rope high_freq_factor"),
    ],
)
def test_a_number_that_float32_cannot_hold_is_refused_by_name(change, named):
    with pytest.raises(UserError, match=named):
        spec_from_config(LLAMA | change)


@pytest.mark.parametrize("theta", [1.2e-38, 3.4e38])
def test_the_strangest_rope_that_is_let_through_has_finite_frequencies(theta):
    for head_dim in (2, 128, 2**14):
        assert all(map(math.isfinite, inverse_frequencies(Rope(theta=theta), head_dim)))


# What the configs of models of the catalogue hold beside their sizes.
PUBLISHED = {
    "gpt2": {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": "gelu_new",
        "attn_pdrop": 0.1,
        "bos_token_id": 50256,
        "embd_pdrop": 0.1,
        "eos_token_id": 50256,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "n_ctx": 1024,
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "n_positions": 1024,
        "resid_pdrop": 0.1,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "vocab_size": 50257,
    },
    "smollm2-135m": LLAMA
    | {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.041666666666666664,
        "is_llama_config": True,
        "mlp_bias": False,
        "pad_token_id": 2,
        "pretraining_tp": 1,
        "rope_interleaved": False,
        "rope_scaling": None,
        "rope_theta": 100000,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
        "transformers_version": "4.42.3",
        "use_cache": True,
    },
    "llama-3.2-1b": LLAMA
    | {
        "head_dim": 8,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_configs_of_the_catalogue_are_understood(name):
    assert lookup(name) is not None
    assert spec_from_config(PUBLISHED[name]).vocab > 0


def test_an_old_and_a_new_rope_table_that_agree_are_one():
    new = {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}
    both = spec_from_config(LLAMA | {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": new})
    assert both == spec_from_config(LLAMA | {"rope_parameters": new})


def test_interleaved_rope_is_refused():
    with pytest.raises(UserError, match="rope_interleaved = True is not supported"):
        spec_from_config(LLAMA | {"rope_interleaved": True})


def test_what_a_llama_config_leaves_out_is_as_in_transformers():
    left_out = {"hidden_act", "rms_norm_eps", "max_position_embeddings"}
    spec = spec_from_config({name: value for name, value in LLAMA.items() if name not in left_out})
    defaults = pytest.importorskip("transformers", reason="transformers is not installed").LlamaConfig()
    assert spec.context == defaults.max_position_embeddings
    assert spec.norm.eps == defaults.rms_norm_eps
    assert spec.layers[0].mlp.act == defaults.hidden_act


def test_a_missing_field_is_named():
    with pytest.raises(UserError, match="intermediate_size is missing"):
        spec_from_config({name: value for name, value in LLAMA.items() if name != "intermediate_size"})


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


NEOX = {name: value for name, value in LLAMA.items() if name not in ("num_key_value_heads", "rms_norm_eps")}
NEOX |= {"model_type": "gpt_neox", "hidden_act": "gelu"}


def test_the_rope_of_gpt_neox_is_read_where_transformers_reads_it():
    """By both of its releases: the older writes rotary_pct, the newer a table, which then decides alone."""
    hf = pytest.importorskip("transformers", reason="transformers is not installed")
    table = {"rope_type": "default", "rope_theta": 5e5, "partial_rotary_factor": 0.5}
    stated = [{}, {"rotary_pct": 0.5}, {"rotary_pct": 1.0, "rotary_emb_base": 5e5}, {"rope_parameters": table}]
    for said in (*stated, {"rotary_pct": 0.5, "rotary_emb_base": 5e5, "rope_parameters": table}):
        theirs = hf.GPTNeoXConfig(**said).rope_parameters
        rope = spec_from_config(NEOX | said).layers[0].attention.rope
        assert rope.theta == theirs["rope_theta"]
        assert (8 if rope.rotated is None else rope.rotated) == 8 * theirs["partial_rotary_factor"]


@pytest.mark.parametrize(
    ("said", "named"),
    [
        (
            {"rotary_pct": 0.5, "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.25}},
            r"rotary_pct differs from that of config\.rope_parameters \(0\.5, 0\.25\)",
        ),
        ({"rotary_pct": 0.5, "partial_rotary_factor": 0.75}, "rotary_pct differs from partial_rotary_factor"),
        (
            {"rotary_emb_base": 5e5, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
            r"rotary_emb_base differs from that of config\.rope_parameters \(500000, 10000\)",
        ),
        ({"rotary_emb_base": 5e5, "rope_theta": 1e4}, "rotary_emb_base differs from rope_theta"),
    ],
)
def test_two_names_of_one_number_that_differ_are_refused(said, named):
    with pytest.raises(UserError, match=named):
        spec_from_config(NEOX | said)
    same = dict.fromkeys(("rotary_pct", "partial_rotary_factor"), 0.5)
    assert spec_from_config(NEOX | same) == spec_from_config(NEOX | {"rotary_pct": 0.5})
