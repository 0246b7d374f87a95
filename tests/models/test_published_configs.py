"""The configs of published models are understood, and have as many parameters as transformers makes of them."""

import contextlib

import pytest

from llmos.core.errors import UserError
from llmos.models import parameter_count, spec_from_config
from tests.published_configs import PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_field_is_understood(name):
    spec = spec_from_config(PUBLISHED[name])
    assert len(spec.layer_kinds) <= 2


@pytest.mark.torch
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_number_of_parameters_is_that_of_transformers(name):
    torch = pytest.importorskip("torch")
    hf = pytest.importorskip("transformers", reason="transformers is not installed")
    config = {field: value for field, value in PUBLISHED[name].items() if field != "auto_map"}
    kind = hf.AutoModelForImageTextToText if config["model_type"] == "gemma3" else hf.AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(hf.AutoConfig.for_model(**config))
    if config["model_type"] == "gemma3":
        model = model.model.language_model
    unused = 2 * config["hidden_size"] if config["model_type"] == "opt" else 0  # rows of positions
    assert parameter_count(spec_from_config(config)) == sum(p.numel() for p in model.parameters()) - unused


LONG = {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
LONG |= {"original_max_position_embeddings": 4096}


@pytest.mark.parametrize(
    ("name", "change", "refusal"),
    [
        ("falcon-7b", {"alibi": True}, "alibi = True is not supported"),
        ("falcon-7b", {"num_ln_in_parallel_attn": 2}, "num_ln_in_parallel_attn = 2"),
        ("falcon-40b", {"parallel_attn": False}, "without parallel_attn"),
        ("gemma-2b", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma-2b", {"hidden_act": "silu"}, "hidden_act"),
        ("gemma-2-2b", {"query_pre_attn_scalar": 0}, "query_pre_attn_scalar must be above 0"),
        ("gemma-2-2b", {"layer_types": ["full_attention"]}, "1 entries for 26 layers"),
        ("gemma-2-2b", {"layer_types": ["chunked_attention"] * 26}, "chunked_attention; understood"),
        ("gemma-3-1b-it", {"rope_parameters": {"full_attention": {}}, "rope_scaling": {"factor": 2}}, "remove the one"),
        ("gemma-3-4b-it", {"text_config": None}, "text_config is missing"),
        ("gemma-3-4b-it", {"text_config": {"strange": 1, "intermediate_size": 8}}, r"config\.text_config.*strange"),
        ("granite-3.1-8b-instruct", {"logits_scaling": 0}, "logits_scaling must be above 0"),
        ("Mistral-7B-v0.1", {"sliding_window": -1}, "sliding_window must be at least 1"),
        ("Mistral-7B-v0.1", {"layer_types": []}, "layer_types"),
        ("opt-125m", {"layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine"),
        ("Phi-3.5-mini-instruct", {"rope_scaling": {"type": "longrope", "factor": 2}}, "short_factor is missing"),
        (
            "Phi-3.5-mini-instruct",
            {"original_max_position_embeddings": 2048, "rope_scaling": LONG},
            "differs from that of",
        ),
        ("Phi-3.5-mini-instruct", {"attention_bias": True}, "attention_bias"),
        ("Qwen2.5-7B", {"use_mrope": True}, "use_mrope"),
        ("Qwen2.5-7B", {"dual_chunk_attention_config": {}}, "dual_chunk_attention_config"),
        ("Qwen3-30B-A3B", {"num_experts_per_tok": 129}, "experts per token"),
        ("Qwen3-30B-A3B", {"num_experts": 1025}, "up to 1024 experts"),
        ("Qwen3-30B-A3B", {"num_local_experts": 64}, "num_experts and num_local_experts differ"),
        ("Qwen3-30B-A3B", {"mlp_only_layers": ["1"]}, "whole numbers"),
        ("pythia-160m", {"rotary_pct": 0}, "leaves nothing to turn"),
        ("pythia-160m", {"rotary_pct": 1e308}, "leaves nothing to turn"),
        ("starcoder2-3b", {"norm_type": "rms_norm"}, "norm_type"),
        ("stablelm-2-12b", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_reason(name, change, refusal):
    with pytest.raises(UserError, match=refusal):
        spec_from_config(PUBLISHED[name] | change)


ODD = [
    None,
    False,
    True,
    -1,
    0,
    1,
    2,
    3,
    2**40,
    1e308,
    5e-324,
    -0.5,
    "x",
    [],
    [0],
    {},
    {"rope_type": "yarn", "factor": 0},
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_odd_value_is_refused_or_understood_and_nothing_else(name):
    for field in PUBLISHED[name] | {"rope_parameters": None, "layer_types": None, "head_dim": None}:
        for value in ODD:
            if "layer" in field and value == 2**40:
                continue  # refused before a spec is made of it, which would hold one object for each
            with contextlib.suppress(UserError):
                spec_from_config(PUBLISHED[name] | {field: value})
