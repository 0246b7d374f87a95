"""BERT: an encoder, whose hidden rows become embeddings. Reference: transformers `modeling_bert.py`; paper arXiv:1810.04805.

What stands on the encoder in a checkpoint (pooler, heads of the tasks that it was trained on) gives no hidden row and is left
out. Later encoders of the same shape (RoBERTa, DistilBERT) take `encoder_spec` from here.
"""

from llmos.core.errors import UserError
from llmos.models.fields import Fields
from llmos.models.gguf import Gguf
from llmos.models.source import Source
from llmos.models.spec import Act, Attention, Layer, Mlp, Norm, Spec

MODEL_TYPE = "bert"
ARCHITECTURE = "BertModel"
IGNORED = frozenset(
    {"attention_probs_dropout_prob", "classifier_dropout", "gradient_checkpointing", "hidden_dropout_prob"}
    | {"initializer_range", "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"}
    | {"pooler_size_per_head", "pooler_type", "tie_word_embeddings"}
)
PREFIXES = ("bert.", "")
UNUSED = (r"(bert\.)?pooler\.dense\.(weight|bias)", r"(bert\.)?embeddings\.position_ids", r"cls\..*")
ACTS: dict[str, Act] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
}

WEIGHTS = {
    "embed": Source("embeddings.word_embeddings.weight"),
    "token_type": Source("embeddings.token_type_embeddings.weight"),
    "position": Source("embeddings.position_embeddings.weight"),
    "embed_norm": Source("embeddings.LayerNorm.weight"),
    "embed_norm.bias": Source("embeddings.LayerNorm.bias"),
    **{
        f"layer.{{i}}.{ours}{end}": Source(f"encoder.layer.{{i}}.{theirs}.{end.removeprefix('.') or 'weight'}")
        for ours, theirs in {
            "q": "attention.self.query",
            "k": "attention.self.key",
            "v": "attention.self.value",
            "o": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "up": "intermediate.dense",
            "down": "output.dense",
            "norm2": "output.LayerNorm",
        }.items()
        for end in ("", ".bias")
    },
}

# RoBERTa, XLM-RoBERTa and DistilBERT are stored so too: without the rows of positions that they skip, and with types or without.
GGUF = Gguf(
    arch="bert",
    fields={
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "max_position_embeddings": "context_length",
        "layer_norm_eps": "attention.layer_norm_epsilon",
    },
    constants={"hidden_act": "gelu"},
    rows={"type_vocab_size": "token_types.weight"},
    expects={"attention.causal": False},
    tensors={
        "token_type": Source("token_types.weight"),
        **{
            f"layer.{{i}}.{ours}{end}": Source(f"blk.{{i}}.{theirs}.{end.removeprefix('.') or 'weight'}")
            for ours, theirs in {"norm1": "attn_output_norm", "norm2": "layer_output_norm"}.items()
            for end in ("", ".bias")
        },
    },
    rope=False,
)


def spec(c: Fields) -> Spec:
    """The spec of a BERT config, with the defaults of transformers' BertConfig where it leaves something out."""
    return bert_like(c, MODEL_TYPE, context=c.integer("max_position_embeddings", 512))


def bert_like(c: Fields, family: str, *, context: int) -> Spec:
    """The spec of a config with BERT's fields."""
    c.expect("is_decoder", False)
    c.expect("add_cross_attention", False)
    c.expect("position_embedding_type", "absolute", None)
    return encoder_spec(
        family=family,
        width=c.integer("hidden_size", 768),
        heads=c.integer("num_attention_heads", 12),
        hidden=c.integer("intermediate_size", 3072),
        layers=c.integer("num_hidden_layers", 12),
        act=c.choice("hidden_act", ACTS, "gelu"),
        eps=c.number("layer_norm_eps", 1e-12),
        vocab=c.integer("vocab_size", 30522),
        context=context,
        token_types=c.integer("type_vocab_size", 2, least=0),
    )


def encoder_spec(
    *,
    family: str,
    width: int,
    heads: int,
    hidden: int,
    layers: int,
    act: Act,
    eps: float,
    vocab: int,
    context: int,
    token_types: int,
) -> Spec:
    """The encoder of the first transformer with learned positions: norms behind each part, biases everywhere, no head."""
    if width % heads:
        raise UserError(f"a width of {width} cannot be divided among {heads} heads")
    norm = Norm(kind="layer", eps=eps)
    size = width // heads
    layer = Layer(
        norm=norm,
        attention=Attention(heads=heads, kv_heads=heads, head_dim=size, qkv_bias=True, out_bias=True, causal=False),
        mlp=Mlp(hidden=hidden, act=act, gated=False, bias=True),
        norms="post",
    )
    return Spec(
        family=family,
        width=width,
        vocab=vocab,
        context=context,
        layers=(layer,) * layers,
        norm=None,
        embed_norm=norm,
        learned_positions=True,
        token_types=token_types,
        head=False,
    )
