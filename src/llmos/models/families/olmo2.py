"""OLMo 2: norms after the branches, and of all queries and all keys. Reference: transformers `modeling_olmo2.py`;
arXiv:2501.00656."""

from llmos.models.decoder_fields import attention_of, mlp_of, repeated, spec_of
from llmos.models.families import llama
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, Gguf
from llmos.models.source import Source
from llmos.models.spec import HeadNorm, Layer, Norm, Spec

MODEL_TYPE = "olmo2"
ARCHITECTURE = "Olmo2ForCausalLM"
IGNORED = frozenset({"attention_dropout", "initializer_range"})
PREFIXES = ("",)
UNUSED = llama.UNUSED
WEIGHTS = llama.WEIGHTS | {
    "layer.{i}.q_norm": Source("model.layers.{i}.self_attn.q_norm.weight"),
    "layer.{i}.k_norm": Source("model.layers.{i}.self_attn.k_norm.weight"),
    "layer.{i}.post1": Source("model.layers.{i}.post_attention_layernorm.weight"),
    "layer.{i}.post2": Source("model.layers.{i}.post_feedforward_layernorm.weight"),
}
GGUF = Gguf(
    arch="olmo2", fields=DECODER, constants={"hidden_act": "silu"}, present={"attention_bias": "blk.0.attn_q.bias"}
)


def spec(c: Fields) -> Spec:
    """The spec of an OLMo 2 config."""
    norm, bias = Norm(kind="rms", eps=c.number("rms_norm_eps", 1e-5)), c.flag("attention_bias", False)
    attention = attention_of(c, qkv_bias=bias, out_bias=bias, qk_norm=HeadNorm(norm=norm, over="width"))
    layer = Layer(norm=norm, attention=attention, mlp=mlp_of(c), norms="output")
    return spec_of(c, MODEL_TYPE, repeated(c, layer), norm, context=2048)
