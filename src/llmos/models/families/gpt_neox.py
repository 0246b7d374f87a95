"""GPT-NeoX and Pythia: parallel branches, a rope that turns part of a head. Reference: transformers
`modeling_gpt_neox.py`; arXiv:2204.06745."""

from llmos.models.decoder_fields import mlp_of, repeated, spec_of
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, FUSED_QKV, Gguf
from llmos.models.rope_fields import rope_of
from llmos.models.source import Source
from llmos.models.spec import Attention, Layer, Norm, Spec

MODEL_TYPE = "gpt_neox"
ARCHITECTURE = "GPTNeoXForCausalLM"
IGNORED = frozenset({"attention_dropout", "classifier_dropout", "hidden_dropout", "initializer_range"})
IGNORED |= {"attention_probs_dropout_prob", "hidden_dropout_prob"}
PREFIXES = ("",)
UNUSED = (r".*\.attention\.(masked_)?bias", r".*\.rotary_emb\.inv_freq")
_QKV = ("q", "k", "v")
_ATTENTION = "gpt_neox.layers.{i}.attention"
WEIGHTS = {
    "embed": Source("gpt_neox.embed_in.weight"),
    "norm": Source("gpt_neox.final_layer_norm.weight"),
    "norm.bias": Source("gpt_neox.final_layer_norm.bias"),
    "head": Source("embed_out.weight"),
    "layer.{i}.norm1": Source("gpt_neox.layers.{i}.input_layernorm.weight"),
    "layer.{i}.norm1.bias": Source("gpt_neox.layers.{i}.input_layernorm.bias"),
    **{f"layer.{{i}}.{n}": Source(f"{_ATTENTION}.query_key_value.weight", among=_QKV, by_group=True) for n in _QKV},
    **{f"layer.{{i}}.{n}.bias": Source(f"{_ATTENTION}.query_key_value.bias", among=_QKV, by_group=True) for n in _QKV},
    "layer.{i}.o": Source(f"{_ATTENTION}.dense.weight"),
    "layer.{i}.o.bias": Source(f"{_ATTENTION}.dense.bias"),
    "layer.{i}.norm2": Source("gpt_neox.layers.{i}.post_attention_layernorm.weight"),
    "layer.{i}.norm2.bias": Source("gpt_neox.layers.{i}.post_attention_layernorm.bias"),
    "layer.{i}.up": Source("gpt_neox.layers.{i}.mlp.dense_h_to_4h.weight"),
    "layer.{i}.up.bias": Source("gpt_neox.layers.{i}.mlp.dense_h_to_4h.bias"),
    "layer.{i}.down": Source("gpt_neox.layers.{i}.mlp.dense_4h_to_h.weight"),
    "layer.{i}.down.bias": Source("gpt_neox.layers.{i}.mlp.dense_4h_to_h.bias"),
}
GGUF = Gguf(
    arch="gptneox",
    fields={name: key for name, key in DECODER.items() if name not in ("num_key_value_heads", "head_dim")}
    | {"layer_norm_eps": "attention.layer_norm_epsilon", "use_parallel_residual": "use_parallel_residual"},
    constants={"hidden_act": "gelu"},
    present={"attention_bias": "blk.0.attn_qkv.bias"},
    tensors=FUSED_QKV,
    share="rotary_pct",
)


def spec(c: Fields) -> Spec:
    """The spec of a GPT-NeoX config."""
    norm, bias = Norm(kind="layer", eps=c.number("layer_norm_eps", 1e-5)), c.flag("attention_bias", True)
    heads = c.integer("num_attention_heads")
    head_dim = c.integer("hidden_size") // heads
    rope = rope_of(c, head_dim, theta=10000, share=0.25, names=("rotary_emb_base", "rotary_pct"))
    layer = Layer(
        norm=norm,
        attention=Attention(heads=heads, kv_heads=heads, head_dim=head_dim, qkv_bias=bias, out_bias=bias, rope=rope),
        mlp=mlp_of(c, act="gelu", gated=False, bias=True),
        parallel=c.flag("use_parallel_residual", True),
    )
    return spec_of(c, MODEL_TYPE, repeated(c, layer), norm, context=2048)
