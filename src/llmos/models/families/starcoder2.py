"""StarCoder 2: layer norms, biases, a plain MLP, a window. Reference: transformers `modeling_starcoder2.py`;
arXiv:2402.19173."""

from llmos.models.decoder_fields import attention_of, mlp_of, repeated, spec_of
from llmos.models.families import llama
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, Gguf
from llmos.models.source import Source
from llmos.models.spec import Layer, Norm, Spec

MODEL_TYPE = "starcoder2"
ARCHITECTURE = "Starcoder2ForCausalLM"
IGNORED = frozenset({"attention_dropout", "embedding_dropout", "initializer_range", "residual_dropout"})
IGNORED |= {"attention_softmax_in_fp32", "scale_attention_softmax_in_fp32"}
PREFIXES = ("",)
UNUSED = llama.UNUSED
WEIGHTS = llama.WEIGHTS | {
    "norm.bias": Source("model.norm.bias"),
    "layer.{i}.norm1.bias": Source("model.layers.{i}.input_layernorm.bias"),
    "layer.{i}.norm2.bias": Source("model.layers.{i}.post_attention_layernorm.bias"),
    "layer.{i}.up": Source("model.layers.{i}.mlp.c_fc.weight"),
    "layer.{i}.up.bias": Source("model.layers.{i}.mlp.c_fc.bias"),
    "layer.{i}.down": Source("model.layers.{i}.mlp.c_proj.weight"),
    "layer.{i}.down.bias": Source("model.layers.{i}.mlp.c_proj.bias"),
}
GGUF = Gguf(
    arch="starcoder2",
    fields=DECODER | {"norm_epsilon": "attention.layer_norm_epsilon", "sliding_window": "attention.sliding_window"},
    constants={"hidden_act": "gelu_pytorch_tanh"},
    present={"use_bias": "blk.0.attn_q.bias"},
)


def spec(c: Fields) -> Spec:
    """The spec of a StarCoder 2 config."""
    eps = c.number("norm_epsilon", 1e-5)
    c.expect("layer_norm_epsilon", eps)
    c.expect("norm_type", "layer_norm")
    c.expect("mlp_type", "default")
    c.expect("scale_attn_weights", True)
    c.expect("activation_function", c.raw.get("hidden_act"))
    norm, bias = Norm(kind="layer", eps=eps), c.flag("use_bias", True)
    window = c.integer_or_none("sliding_window")
    attention = attention_of(c, qkv_bias=bias, out_bias=bias, window=window)
    layer = Layer(norm=norm, attention=attention, mlp=mlp_of(c, act="gelu_pytorch_tanh", gated=False, bias=bias))
    return spec_of(c, MODEL_TYPE, repeated(c, layer), norm, context=4096, tied=True)
