"""Llama 1 to 3. Reference: transformers `modeling_llama.py`; papers arXiv:2302.13971, arXiv:2407.21783."""

from llmos.models.decoder_fields import attention_of, mlp_of, repeated, spec_of
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, Gguf
from llmos.models.source import Source
from llmos.models.spec import Layer, Norm, Spec

MODEL_TYPE = "llama"
ARCHITECTURE = "LlamaForCausalLM"
IGNORED = frozenset({"attention_dropout", "initializer_range", "is_llama_config", "pretraining_tp"})
PREFIXES = ("",)
UNUSED = (r".*\.rotary_emb\.inv_freq",)
WEIGHTS = {
    "embed": Source("model.embed_tokens.weight"),
    "norm": Source("model.norm.weight"),
    "head": Source("lm_head.weight"),
    "layer.{i}.norm1": Source("model.layers.{i}.input_layernorm.weight"),
    "layer.{i}.q": Source("model.layers.{i}.self_attn.q_proj.weight"),
    "layer.{i}.k": Source("model.layers.{i}.self_attn.k_proj.weight"),
    "layer.{i}.v": Source("model.layers.{i}.self_attn.v_proj.weight"),
    "layer.{i}.o": Source("model.layers.{i}.self_attn.o_proj.weight"),
    "layer.{i}.q.bias": Source("model.layers.{i}.self_attn.q_proj.bias"),
    "layer.{i}.k.bias": Source("model.layers.{i}.self_attn.k_proj.bias"),
    "layer.{i}.v.bias": Source("model.layers.{i}.self_attn.v_proj.bias"),
    "layer.{i}.o.bias": Source("model.layers.{i}.self_attn.o_proj.bias"),
    "layer.{i}.norm2": Source("model.layers.{i}.post_attention_layernorm.weight"),
    "layer.{i}.gate": Source("model.layers.{i}.mlp.gate_proj.weight"),
    "layer.{i}.up": Source("model.layers.{i}.mlp.up_proj.weight"),
    "layer.{i}.down": Source("model.layers.{i}.mlp.down_proj.weight"),
    "layer.{i}.gate.bias": Source("model.layers.{i}.mlp.gate_proj.bias"),
    "layer.{i}.up.bias": Source("model.layers.{i}.mlp.up_proj.bias"),
    "layer.{i}.down.bias": Source("model.layers.{i}.mlp.down_proj.bias"),
}
GGUF = Gguf(
    arch="llama",
    fields=DECODER,
    constants={"hidden_act": "silu"},
    present={"attention_bias": "blk.0.attn_q.bias", "mlp_bias": "blk.0.ffn_up.bias"},
    neighbours=True,
)


def spec(c: Fields) -> Spec:
    """The spec of a Llama config. What it leaves out is as in transformers' LlamaConfig; sizes must be there."""
    c.expect("rope_interleaved", False)
    bias = c.flag("attention_bias", False)
    norm = Norm(kind="rms", eps=c.number("rms_norm_eps", 1e-6))
    attention = attention_of(c, qkv_bias=bias, out_bias=bias)
    layer = Layer(norm=norm, attention=attention, mlp=mlp_of(c, bias=c.flag("mlp_bias", False)))
    return spec_of(c, MODEL_TYPE, repeated(c, layer), norm, context=2048)
