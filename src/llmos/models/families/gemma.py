"""Gemma: scaled embeddings, norms stored as their difference from 1. Reference: transformers `modeling_gemma.py`."""

import math

from llmos.models.decoder_fields import ACTS, attention_of, repeated, spec_of
from llmos.models.families import llama
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, Gguf
from llmos.models.source import Source
from llmos.models.spec import Layer, Mlp, Norm, Spec

MODEL_TYPE = "gemma"
ARCHITECTURE = "GemmaForCausalLM"
IGNORED = frozenset({"attention_dropout", "initializer_range"})
PREFIXES = ("",)
UNUSED = llama.UNUSED
WEIGHTS = llama.WEIGHTS | {
    "norm": Source("model.norm.weight", plus=1.0),
    "layer.{i}.norm1": Source("model.layers.{i}.input_layernorm.weight", plus=1.0),
    "layer.{i}.norm2": Source("model.layers.{i}.post_attention_layernorm.weight", plus=1.0),
}
GGUF = Gguf(arch="gemma", fields=DECODER, constants={"hidden_act": "gelu_pytorch_tanh"})  # the 1 is in its norms


def spec(c: Fields) -> Spec:
    """The spec of a Gemma config."""
    c.expect("use_bidirectional_attention", None, False)
    c.expect("hidden_act", "gelu", "gelu_pytorch_tanh")  # the first is a slip of early configs: the tanh form is meant
    c.expect("hidden_activation", None, "gelu_pytorch_tanh")
    norm, bias = Norm(kind="rms", eps=c.number("rms_norm_eps", 1e-6)), c.flag("attention_bias", False)
    attention = attention_of(c, head_dim=256, qkv_bias=bias, out_bias=bias)
    mlp = Mlp(hidden=c.integer("intermediate_size"), act=ACTS["gelu_pytorch_tanh"], gated=True)
    layer = Layer(norm=norm, attention=attention, mlp=mlp)
    scale = math.sqrt(c.integer("hidden_size"))
    return spec_of(c, MODEL_TYPE, repeated(c, layer), norm, context=8192, tied=True, embed_scale=scale)
