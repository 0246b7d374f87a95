"""Gemma 3, text: five layers with a window and a rope of their own to one without, norms of queries and keys.

Reference: transformers `modeling_gemma3.py`; arXiv:2503.19786.
"""

from dataclasses import replace

from llmos.core.errors import UserError
from llmos.models.decoder_fields import attention_of
from llmos.models.families import gemma2
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, Gguf
from llmos.models.rope_fields import rope_from
from llmos.models.source import Source
from llmos.models.spec import HeadNorm, Norm, Rope, Spec
from llmos.models.window_fields import SLIDING, layer_types

MODEL_TYPE = "gemma3_text"
ARCHITECTURE = "Gemma3ForCausalLM"
# The pattern with an underscore is what transformers notes beside layer_types.
IGNORED = frozenset({"_sliding_window_pattern", "attention_dropout", "initializer_range"})
PREFIXES = ("",)
UNUSED = gemma2.UNUSED
WEIGHTS = gemma2.WEIGHTS | {
    "layer.{i}.q_norm": Source("model.layers.{i}.self_attn.q_norm.weight", plus=1.0),
    "layer.{i}.k_norm": Source("model.layers.{i}.self_attn.k_norm.weight", plus=1.0),
}
GGUF = Gguf(
    arch="gemma3",
    fields=DECODER
    | {"sliding_window": "attention.sliding_window", "final_logit_softcapping": "final_logit_softcapping"},
    constants={"hidden_activation": "gelu_pytorch_tanh", "rope_local_base_freq": 10000.0},
    expects={"rope.freq_base_swa": 10000.0},
    finish=lambda config: {
        "query_pre_attn_scalar": gemma2.score_divisor(config, largest=62),
        "rope_theta": config["rope_parameters"]["rope_theta"],
        "rope_scaling": config["rope_parameters"],
        "rope_parameters": None,
    },
)


def spec(c: Fields) -> Spec:
    """The spec of a config of Gemma 3's text model."""
    return text(c, MODEL_TYPE)


def text(c: Fields, family: str) -> Spec:
    """The text model, alone or within one that also sees."""
    head_dim = c.integer("head_dim", 256)
    norm = HeadNorm(norm=Norm(kind="rms", eps=c.number("rms_norm_eps", 1e-6)), over="head")
    rope, local = _ropes(c, head_dim)
    full = attention_of(c, head_dim=256, rope=rope, qk_norm=norm, **gemma2.score_parts(c, softcap=None))
    sliding = replace(full, rope=local, window=c.integer_or_none("sliding_window", 4096))
    pattern = c.integer("sliding_window_pattern", 6)
    types = layer_types(c, c.integer("num_hidden_layers", 26), lambda i: (i + 1) % pattern != 0)
    attentions = [sliding if kind == SLIDING else full for kind in types]
    return gemma2.sandwiched(c, family, attentions, context=131072)


def _ropes(c: Fields, head_dim: int) -> tuple[Rope, Rope]:
    """The ropes of full and of sliding layers; rope_scaling of older configs is that of the full ones."""
    tables, scaling = c.table("rope_parameters"), c.table("rope_scaling")
    if tables and scaling:
        raise UserError(f"{c.where}: it has rope_parameters and rope_scaling: remove the one that is wrong")
    theta, local_theta = c.number("rope_theta", 1e6), c.number("rope_local_base_freq", 1e4)
    full = tables.table("full_attention") if tables else scaling
    sliding = tables.table("sliding_attention") if tables else None
    if tables:
        tables.refuse_unread(frozenset(), "rope")
    ropes = rope_from(c, full, head_dim, theta=theta), rope_from(c, sliding, head_dim, theta=local_theta)
    c.expect("rope_theta", ropes[0].theta)
    c.expect("rope_local_base_freq", ropes[1].theta)
    return ropes
