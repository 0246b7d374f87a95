"""Falcon and Falcon 2: parallel branches, one key and value for many queries. Reference: transformers
`modeling_falcon.py`; arXiv:2311.16867."""

from llmos.core.errors import UserError
from llmos.models.decoder_fields import ACTS
from llmos.models.fields import Fields
from llmos.models.gguf import FUSED_QKV, Gguf
from llmos.models.rope_fields import rope_of
from llmos.models.source import Source
from llmos.models.spec import Attention, Layer, Mlp, Norm, Spec

MODEL_TYPE = "falcon"
ARCHITECTURE = "FalconForCausalLM"
IGNORED = frozenset({"attention_dropout", "hidden_dropout", "initializer_range"})
PREFIXES = ("transformer.", "")
UNUSED = (r".*\.rotary_emb\.inv_freq",)
_QKV = ("q", "k", "v")
_ATTENTION = "h.{i}.self_attention"
_BOTH = {
    "embed": Source("word_embeddings.weight"),
    "norm": Source("ln_f.weight"),
    "norm.bias": Source("ln_f.bias"),
    "head": Source("lm_head.weight"),
    **{f"layer.{{i}}.{n}": Source(f"{_ATTENTION}.query_key_value.weight", among=_QKV, by_group=True) for n in _QKV},
    **{f"layer.{{i}}.{n}.bias": Source(f"{_ATTENTION}.query_key_value.bias", among=_QKV, by_group=True) for n in _QKV},
    "layer.{i}.o": Source(f"{_ATTENTION}.dense.weight"),
    "layer.{i}.o.bias": Source(f"{_ATTENTION}.dense.bias"),
    "layer.{i}.up": Source("h.{i}.mlp.dense_h_to_4h.weight"),
    "layer.{i}.up.bias": Source("h.{i}.mlp.dense_h_to_4h.bias"),
    "layer.{i}.down": Source("h.{i}.mlp.dense_4h_to_h.weight"),
    "layer.{i}.down.bias": Source("h.{i}.mlp.dense_4h_to_h.bias"),
}


def weights(spec: Spec) -> dict[str, Source]:
    """Where the weights are: the norms of two parallel branches have names of their own."""
    layer = spec.layers[0]
    names = ("ln_attn", "ln_mlp") if layer.parallel and not layer.shared_norm else _SEQUENTIAL
    norms = {
        f"layer.{{i}}.{norm}{bias}": Source(f"h.{{i}}.{name}.{tensor}")
        for norm, name in zip(("norm1", "norm2"), names, strict=True)
        for bias, tensor in (("", "weight"), (".bias", "bias"))
    }
    return _BOTH | norms


_SEQUENTIAL = ("input_layernorm", "post_attention_layernorm")


def _gguf_tensors(spec: Spec) -> dict[str, Source]:
    """The norm that all have is that of the MLP, where attention has one of its own."""
    layer = spec.layers[0]
    if layer.shared_norm:
        return dict(FUSED_QKV)
    names = (("norm1", "attn_norm_2"), ("norm2", "attn_norm"))
    return FUSED_QKV | {
        f"layer.{{i}}.{ours}{bias}": Source(f"blk.{{i}}.{theirs}.{tensor}")
        for ours, theirs in names
        for bias, tensor in (("", "weight"), (".bias", "bias"))
    }


# llama.cpp knows parallel branches only. The newer architecture says how many keys and values there are, and so stands for both.
GGUF = Gguf(
    arch="falcon",
    fields={
        "hidden_size": "embedding_length",
        "ffn_hidden_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "num_kv_heads": "attention.head_count_kv",
        "max_position_embeddings": "context_length",
        "layer_norm_epsilon": "attention.layer_norm_epsilon",
    },
    constants={"new_decoder_architecture": True, "parallel_attn": True, "activation": "gelu"},
    present={"num_ln_in_parallel_attn": "blk.0.attn_norm_2.weight"},
    tensors=_gguf_tensors,
    finish=lambda config: {"num_ln_in_parallel_attn": 1 + config["num_ln_in_parallel_attn"]},
)


def spec(c: Fields) -> Spec:
    """The spec of a Falcon config. Raises UserError for models with ALiBi: their scores depend on distances, not on angles."""
    c.expect("alibi", False)
    c.expect("apply_residual_connection_post_layernorm", False)
    width, heads = c.integer("hidden_size"), c.integer("num_attention_heads")
    hidden = c.integer("ffn_hidden_size", width * c.integer("ff_factor", 4))
    norm, bias = Norm(kind="layer", eps=c.number("layer_norm_epsilon", 1e-5)), c.flag("bias", False)
    parallel, norms = _branches(c)
    layer = Layer(
        norm=norm,
        attention=Attention(
            heads=heads,
            kv_heads=_kv_heads(c, heads),
            head_dim=width // heads,
            qkv_bias=bias,
            out_bias=bias,
            rope=rope_of(c, width // heads),
        ),
        mlp=Mlp(hidden=hidden, act=c.choice("activation", ACTS, "gelu"), gated=False, bias=bias),
        parallel=parallel,
        shared_norm=parallel and norms == 1,
    )
    return Spec(
        family=MODEL_TYPE,
        width=width,
        vocab=c.integer("vocab_size"),
        context=c.integer("max_position_embeddings", 2048),
        layers=(layer,) * c.integer("num_hidden_layers"),
        norm=norm,
        tied=c.flag("tie_word_embeddings", True),
    )


def _branches(c: Fields) -> tuple[bool, int]:
    """Whether attention and MLP are parallel, and how many norms stand before them."""
    new, parallel = c.flag("new_decoder_architecture", False), c.flag("parallel_attn", True)
    norms = c.integer("num_ln_in_parallel_attn", 2 if new else 1)
    if norms != 1 and not (new and norms == 2):
        raise UserError(
            f"{c.where}: num_ln_in_parallel_attn = {norms} is not supported; understood: 1 and, with "
            "new_decoder_architecture, 2"
        )
    if new and not parallel:
        raise UserError(f"{c.where}: new_decoder_architecture without parallel_attn is not supported")
    return parallel, norms


def _kv_heads(c: Fields, heads: int) -> int:
    """Groups of the new architecture, one of multi_query, else as many as queries."""
    stated, one = c.integer("num_kv_heads", heads), c.flag("multi_query", True)
    if c.flag("new_decoder_architecture", False):
        return stated
    return 1 if one else stated
