"""Gemma 2: every other layer has a window, scores are capped, norms stand on both sides of a branch.

Reference: transformers `modeling_gemma2.py`; arXiv:2408.00118.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmos.models.decoder_fields import ACTS, attention_of, spec_of
from llmos.models.families import gemma
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, Gguf
from llmos.models.source import Source
from llmos.models.spec import Attention, Layer, Mlp, Norm, Spec
from llmos.models.window_fields import SLIDING, layer_types

MODEL_TYPE = "gemma2"
ARCHITECTURE = "Gemma2ForCausalLM"
IGNORED = frozenset({"attention_dropout", "initializer_range"})
PREFIXES = ("",)
UNUSED = gemma.UNUSED
WEIGHTS = gemma.WEIGHTS | {
    "layer.{i}.post1": Source("model.layers.{i}.post_attention_layernorm.weight", plus=1.0),
    "layer.{i}.norm2": Source("model.layers.{i}.pre_feedforward_layernorm.weight", plus=1.0),
    "layer.{i}.post2": Source("model.layers.{i}.post_feedforward_layernorm.weight", plus=1.0),
}
GGUF = Gguf(
    arch="gemma2",
    fields=DECODER
    | {
        "sliding_window": "attention.sliding_window",
        "attn_logit_softcapping": "attn_logit_softcapping",
        "final_logit_softcapping": "final_logit_softcapping",
    },
    constants={"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"},
    finish=lambda config: {"query_pre_attn_scalar": score_divisor(config, largest=46)},
)


def spec(c: Fields) -> Spec:
    """The spec of a Gemma 2 config."""
    c.expect("hidden_act", "gelu_pytorch_tanh")
    window = c.integer_or_none("sliding_window", 4096)
    c.expect("sliding_window_size", window)
    full = attention_of(c, head_dim=256, **score_parts(c, softcap=50.0))
    of_type = {True: replace(full, window=window), False: full}
    types = layer_types(c, c.integer("num_hidden_layers"), lambda i: i % 2 == 0)
    return sandwiched(c, MODEL_TYPE, [of_type[kind == SLIDING] for kind in types], context=8192, logit_softcap=30.0)


def score_parts(c: Fields, softcap: float | None) -> dict[str, Any]:
    """How attention scores are made. softcap: where the config says nothing of it."""
    c.expect("use_bidirectional_attention", None, False)
    bias = c.flag("attention_bias", False)
    scale = c.positive("query_pre_attn_scalar", 256) ** -0.5
    return {"qkv_bias": bias, "out_bias": bias, "scale": scale} | {
        "softcap": c.number_or_none("attn_logit_softcapping", softcap)
    }


def sandwiched(
    c: Fields, family: str, attentions: list[Attention], context: int, logit_softcap: float | None = None
) -> Spec:
    """The whole model of these attentions. logit_softcap: where the config says nothing of it."""
    norm = Norm(kind="rms", eps=c.number("rms_norm_eps", 1e-6))
    act = c.choice("hidden_activation", ACTS, "gelu_pytorch_tanh")
    mlp = Mlp(hidden=c.integer("intermediate_size", 9216), act=act, gated=True)
    layers = tuple(Layer(norm=norm, attention=attention, mlp=mlp, norms="sandwich") for attention in attentions)
    parts = {
        "embed_scale": math.sqrt(c.integer("hidden_size")),
        "logit_softcap": c.number_or_none("final_logit_softcapping", logit_softcap),
    }
    return spec_of(c, family, layers, norm, context=context, tied=True, **parts)


def score_divisor(config: Mapping[str, Any], largest: int) -> int:
    """What GGUF does not say of the scale of scores: the head's size, and in the largest model, of so many layers, the width
    over the heads."""
    width, heads = config["hidden_size"], config["num_attention_heads"]
    per_head = width // heads
    return per_head if config.get("num_hidden_layers") == largest else config.get("head_dim", per_head)
