"""DistilBERT (arXiv:1910.01108): BERT with fewer layers and no token types. Reference: transformers `modeling_distilbert.py`."""

from llmos.models.families import bert
from llmos.models.fields import Fields
from llmos.models.source import Source
from llmos.models.spec import Spec

MODEL_TYPE = "distilbert"
ARCHITECTURE = "DistilBertModel"
IGNORED = frozenset(
    {"attention_dropout", "dropout", "initializer_range", "qa_dropout", "seq_classif_dropout", "tie_weights_"}
    | {"sinusoidal_pos_embds", "tie_word_embeddings"}  # positions are stored, however they were made
)
PREFIXES = ("distilbert.", "")
UNUSED = (r"vocab_(transform|layer_norm|projector)\.(weight|bias)", r"(distilbert\.)?embeddings\.position_ids")
WEIGHTS = {
    "embed": Source("embeddings.word_embeddings.weight"),
    "position": Source("embeddings.position_embeddings.weight"),
    "embed_norm": Source("embeddings.LayerNorm.weight"),
    "embed_norm.bias": Source("embeddings.LayerNorm.bias"),
    **{
        f"layer.{{i}}.{ours}{end}": Source(f"transformer.layer.{{i}}.{theirs}.{end.removeprefix('.') or 'weight'}")
        for ours, theirs in {
            "q": "attention.q_lin",
            "k": "attention.k_lin",
            "v": "attention.v_lin",
            "o": "attention.out_lin",
            "norm1": "sa_layer_norm",
            "up": "ffn.lin1",
            "down": "ffn.lin2",
            "norm2": "output_layer_norm",
        }.items()
        for end in ("", ".bias")
    },
}


def spec(c: Fields) -> Spec:
    """The spec of a DistilBERT config, with the defaults of transformers' DistilBertConfig where it leaves something out."""
    return bert.encoder_spec(
        family=MODEL_TYPE,
        width=c.integer("dim", 768),
        heads=c.integer("n_heads", 12),
        hidden=c.integer("hidden_dim", 3072),
        layers=c.integer("n_layers", 6),
        act=c.choice("activation", bert.ACTS, "gelu"),
        eps=1e-12,
        vocab=c.integer("vocab_size", 30522),
        context=c.integer("max_position_embeddings", 512),
        token_types=0,
    )
