"""Phi 3, 3.5 and 4 mini: fused projections, LongRoPE. Reference: transformers `modeling_phi3.py`; arXiv:2404.14219."""

from llmos.models.decoder_fields import attention_of, mlp_of, repeated, spec_of
from llmos.models.families import llama
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, FUSED_QKV, Gguf
from llmos.models.source import Source
from llmos.models.spec import Layer, Norm, Spec

MODEL_TYPE = "phi3"
ARCHITECTURE = "Phi3ForCausalLM"
IGNORED = frozenset({"attention_dropout", "embd_pdrop", "initializer_range", "resid_pdrop"})
IGNORED |= {"original_max_position_embeddings"}  # LongRoPE reads it; without that it means nothing
PREFIXES = ("",)
UNUSED = llama.UNUSED
_QKV, _GATE_UP = ("q", "k", "v"), ("gate", "up")
WEIGHTS = llama.WEIGHTS | {
    **{f"layer.{{i}}.{n}": Source("model.layers.{i}.self_attn.qkv_proj.weight", among=_QKV) for n in _QKV},
    **{f"layer.{{i}}.{n}": Source("model.layers.{i}.mlp.gate_up_proj.weight", among=_GATE_UP) for n in _GATE_UP},
}
GGUF = Gguf(
    arch="phi3",
    fields=DECODER | {"sliding_window": "attention.sliding_window"},
    constants={"hidden_act": "silu"},
    tensors=FUSED_QKV | {f"layer.{{i}}.{n}": Source("blk.{i}.ffn_up.weight", among=_GATE_UP) for n in _GATE_UP},
    share="partial_rotary_factor",
    finish=lambda config: {"sliding_window": config.get("sliding_window") or None},
)


def spec(c: Fields) -> Spec:
    """The spec of a Phi 3 config."""
    for bias in ("attention_bias", "mlp_bias", "lm_head_bias"):
        c.expect(bias, False)
    for name in ("full_attn_mod", "interpolate_factor"):
        c.expect(name, 1)
    norm = Norm(kind="rms", eps=c.number("rms_norm_eps", 1e-5))
    attention = attention_of(c, window=c.integer_or_none("sliding_window"))
    layer = Layer(norm=norm, attention=attention, mlp=mlp_of(c))
    return spec_of(c, MODEL_TYPE, repeated(c, layer), norm, context=4096)
