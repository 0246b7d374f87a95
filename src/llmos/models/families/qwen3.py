"""Qwen 3: norms of queries and keys. Reference: transformers `modeling_qwen3.py`; arXiv:2505.09388."""

from llmos.models.decoder_fields import attention_of
from llmos.models.families import llama, qwen2
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, Gguf
from llmos.models.source import Source
from llmos.models.spec import Attention, HeadNorm, Norm, Spec

MODEL_TYPE = "qwen3"
ARCHITECTURE = "Qwen3ForCausalLM"
IGNORED = frozenset({"attention_dropout", "initializer_range"})
PREFIXES = ("",)
UNUSED = llama.UNUSED
WEIGHTS = llama.WEIGHTS | {
    "layer.{i}.q_norm": Source("model.layers.{i}.self_attn.q_norm.weight"),
    "layer.{i}.k_norm": Source("model.layers.{i}.self_attn.k_norm.weight"),
}
GGUF = Gguf(
    arch="qwen3", fields=DECODER, constants={"hidden_act": "silu"}, present={"attention_bias": "blk.0.attn_q.bias"}
)


def spec(c: Fields) -> Spec:
    """The spec of a Qwen 3 config."""
    return qwen2.windowed(c, MODEL_TYPE, attention(c, head_dim=128))


def attention(c: Fields, head_dim: int | None) -> Attention:
    """head_dim: where the config names none; None for the width over the heads."""
    norm, bias = Norm(kind="rms", eps=c.number("rms_norm_eps", 1e-6)), c.flag("attention_bias", False)
    return attention_of(c, head_dim=head_dim, qkv_bias=bias, out_bias=bias, qk_norm=HeadNorm(norm=norm, over="head"))
