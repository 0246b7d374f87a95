"""T5, its version 1.1 and FLAN-T5: an encoder reads the source, a decoder writes the answer. Reference: transformers
`modeling_t5.py`; paper arXiv:1910.10683. Scores of attention are not scaled; positions are biases of distance, which the
first layer of each stack holds for all.
"""

from collections.abc import Mapping
from typing import Any

from llmos.models.fields import Fields
from llmos.models.gguf import Gguf
from llmos.models.source import Source
from llmos.models.spec import Act, Attention, Encoder, Layer, Mlp, Norm, RelativeBias, Spec

MODEL_TYPE = "t5"
ARCHITECTURE = "T5ForConditionalGeneration"
IGNORED = frozenset(
    {"classifier_dropout", "dropout_rate", "initializer_factor", "is_gated_act", "dense_act_fn", "output_past"}
    | {"gradient_checkpointing"}
)
PREFIXES = ("",)
UNUSED = (
    r"(encoder|decoder)\.embed_tokens\.weight",
    r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
)


def _attention(ours: str, theirs: str) -> dict[str, Source]:
    return {f"{ours}{n}": Source(f"{theirs}.{n}.weight") for n in ("q", "k", "v", "o")}


def _stack(ours: str, theirs: str, mlp: int) -> dict[str, Source]:
    block = f"{theirs}.block.{{i}}.layer"
    first = f"{theirs}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return {
        f"{ours}norm1": Source(f"{block}.0.layer_norm.weight"),
        **_attention(ours, f"{block}.0.SelfAttention"),
        f"{ours}relative": Source(first),
        f"{ours}norm2": Source(f"{block}.{mlp}.layer_norm.weight"),
        f"{ours}down": Source(f"{block}.{mlp}.DenseReluDense.wo.weight"),
    }


def _mlp(ours: str, theirs: str, gated: bool) -> dict[str, Source]:
    if not gated:
        return {f"{ours}up": Source(f"{theirs}.DenseReluDense.wi.weight")}
    return {
        f"{ours}gate": Source(f"{theirs}.DenseReluDense.wi_0.weight"),
        f"{ours}up": Source(f"{theirs}.DenseReluDense.wi_1.weight"),
    }


def weights(spec: Spec) -> dict[str, Source]:
    """Where the parameters of a spec lie: the names of the MLP depend on whether it is gated."""
    gated = any(isinstance(layer.mlp, Mlp) and layer.mlp.gated for layer in spec.layers)
    return {
        "embed": Source("shared.weight"),
        **_stack("encoder.{i}.", "encoder", 1),
        **_mlp("encoder.{i}.", "encoder.block.{i}.layer.1", gated),
        "encoder.norm": Source("encoder.final_layer_norm.weight"),
        **_stack("layer.{i}.", "decoder", 2),
        **_mlp("layer.{i}.", "decoder.block.{i}.layer.2", gated),
        "layer.{i}.norm_cross": Source("decoder.block.{i}.layer.1.layer_norm.weight"),
        **_attention("layer.{i}.cross.", "decoder.block.{i}.layer.1.EncDecAttention"),
        "norm": Source("decoder.final_layer_norm.weight"),
        "head": Source("lm_head.weight"),
    }


def _gguf_stack(ours: str, theirs: str) -> dict[str, Source]:
    block = f"{theirs}.blk.{{i}}"
    names = {"norm1": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_o", "norm2": "ffn_norm"}
    names |= {part: f"ffn_{part}" for part in ("gate", "up", "down")}
    return {
        **{f"{ours}{name}": Source(f"{block}.{tensor}.weight") for name, tensor in names.items()},
        f"{ours}relative": Source(f"{theirs}.blk.0.attn_rel_b.weight"),
    }


def _gguf_act(config: Mapping[str, Any]) -> dict[str, str]:
    """The feed-forward part, which no key tells: the published models with a gate have GELU, those without ReLU."""
    return {"feed_forward_proj": "gated-gelu" if config["is_gated_act"] else "relu"}


GGUF = Gguf(
    arch="t5",
    fields={
        "d_model": "embedding_length",
        "d_ff": "feed_forward_length",
        "d_kv": "attention.key_length",
        "num_layers": "block_count",
        "num_decoder_layers": "decoder_block_count",
        "num_heads": "attention.head_count",
        "n_positions": "context_length",
        "relative_attention_num_buckets": "attention.relative_buckets_count",
        "layer_norm_epsilon": "attention.layer_norm_rms_epsilon",
        "decoder_start_token_id": "decoder_start_token_id",
    },
    present={"is_gated_act": "enc.blk.0.ffn_gate.weight"},
    neutral=frozenset({"attention.layer_norm_epsilon"}),  # the same once more, under the name of another kind of norm
    tensors={
        **_gguf_stack("encoder.{i}.", "enc"),
        "encoder.norm": Source("enc.output_norm.weight"),
        **_gguf_stack("layer.{i}.", "dec"),
        "layer.{i}.norm_cross": Source("dec.blk.{i}.cross_attn_norm.weight"),
        **{f"layer.{{i}}.cross.{n}": Source(f"dec.blk.{{i}}.cross_attn_{n}.weight") for n in ("q", "k", "v", "o")},
        "norm": Source("dec.output_norm.weight"),
    },
    rope=False,
    finish=_gguf_act,
    unused=(r"dec\.blk\.0\.cross_attn_rel_b\.weight",),
)


def spec(c: Fields) -> Spec:
    """The spec of a T5 config."""
    tied = c.flag("tie_word_embeddings", True)
    # transformers 5 always says that they are tied, and tells version 1.1 and later, which are not, by this one.
    tied = c.flag("scale_decoder_outputs", tied) and tied
    return t5_like(c, MODEL_TYPE, tied=tied, act="relu")


def t5_like(c: Fields, family: str, *, tied: bool, act: str) -> Spec:
    """The spec of a config with T5's fields; a tied head is scaled. act: feed_forward_proj where the config has none.

    Positions beyond n_positions are possible; it says what the model was trained with.
    """
    width = c.integer("d_model")
    norm = Norm(kind="rms", eps=c.number("layer_norm_epsilon", 1e-6))
    relative = RelativeBias(
        buckets=c.integer("relative_attention_num_buckets", 32),
        max_distance=c.integer("relative_attention_max_distance", 128),
    )
    kind, gated = c.choice("feed_forward_proj", _ACTS, act)
    mlp = Mlp(hidden=c.integer("d_ff"), act=kind, gated=gated)
    heads, head_dim = c.integer("num_heads"), c.integer("d_kv")

    def attention(causal: bool, biased: bool) -> Attention:
        return Attention(
            heads=heads,
            kv_heads=heads,
            head_dim=head_dim,
            scale=1.0,
            causal=causal,
            relative=relative if biased else None,
        )

    n_layers = c.integer("num_layers")
    reader = Layer(norm=norm, attention=attention(False, True), mlp=mlp)
    writer = Layer(norm=norm, attention=attention(True, True), mlp=mlp, cross=attention(False, False))
    return Spec(
        family=family,
        width=width,
        vocab=c.integer("vocab_size"),
        context=c.integer("n_positions", 512),
        layers=(writer,) * c.integer("num_decoder_layers", n_layers),
        norm=norm,
        tied=tied,
        logit_scale=width**-0.5 if tied else 1.0,
        encoder=Encoder(layers=(reader,) * n_layers, norm=norm),
        start_id=c.integer("decoder_start_token_id", 0, least=0),
    )


_ACTS: dict[str, tuple[Act, bool]] = {
    "relu": ("relu", False),
    "gelu": ("gelu", False),
    "gated-gelu": ("gelu_tanh", True),
    "gated-silu": ("silu", True),
    "gated-relu": ("relu", True),
}
