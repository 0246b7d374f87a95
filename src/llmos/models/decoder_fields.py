"""The fields that most decoders write under the same names, as parts of a spec.

Reference: the config classes of transformers, which share hidden_size, num_attention_heads and the like.
"""

from typing import Any

from llmos.models.fields import Fields
from llmos.models.rope_fields import rope_of
from llmos.models.spec import Act, Attention, Layer, Mlp, Norm, Spec

__all__ = ["ACTS", "attention_of", "mlp_of", "repeated", "spec_of"]

ACTS: dict[str, Act] = {
    "gelu": "gelu",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
}


def attention_of(
    c: Fields, *, head_dim: int | None = None, theta: float = 1e4, share: float = 1.0, **parts: Any
) -> Attention:
    """Attention with rope. head_dim: where the config has none (else the width over the heads); theta, share: as in
    `rope_of`; parts: further fields of `Attention`."""
    heads = c.integer("num_attention_heads")
    head_dim = c.integer("head_dim", head_dim or c.integer("hidden_size") // heads)
    if "rope" not in parts:
        parts["rope"] = rope_of(c, head_dim, theta=theta, share=share)
    return Attention(heads=heads, kv_heads=c.integer("num_key_value_heads", heads), head_dim=head_dim, **parts)


def mlp_of(c: Fields, *, act: str = "silu", gated: bool = True, bias: bool = False) -> Mlp:
    """The feed-forward part. act: what hidden_act is where the config has none."""
    return Mlp(hidden=c.integer("intermediate_size"), act=c.choice("hidden_act", ACTS, act), gated=gated, bias=bias)


def repeated(c: Fields, layer: Layer) -> tuple[Layer, ...]:
    """A layer as often as the config has layers."""
    return (layer,) * c.integer("num_hidden_layers")


def spec_of(
    c: Fields, family: str, layers: tuple[Layer, ...], norm: Norm, *, context: int, tied: bool = False, **parts: Any
) -> Spec:
    """The whole model. context, tied: what max_position_embeddings and tie_word_embeddings are where they are absent."""
    return Spec(
        family=family,
        width=c.integer("hidden_size"),
        vocab=c.integer("vocab_size"),
        context=c.integer("max_position_embeddings", context),
        layers=layers,
        norm=norm,
        tied=c.flag("tie_word_embeddings", tied),
        **parts,
    )
