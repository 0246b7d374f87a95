"""GPT-2. Reference: transformers `modeling_gpt2.py`. Its linear layers are stored (in, out), q/k/v in one tensor."""

from llmos.models.fields import Fields
from llmos.models.gguf import FUSED_QKV, Gguf
from llmos.models.source import Source
from llmos.models.spec import Attention, Layer, Mlp, Norm, Spec

MODEL_TYPE = "gpt2"
ARCHITECTURE = "GPT2LMHeadModel"
IGNORED = frozenset(
    {"attn_pdrop", "embd_pdrop", "initializer_range", "n_ctx", "reorder_and_upcast_attn", "resid_pdrop"}
    | {"summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj"}
)
PREFIXES = ("transformer.", "")
UNUSED = (r".*\.attn\.(masked_)?bias",)

_QKV = ("q", "k", "v")
WEIGHTS = {
    "embed": Source("wte.weight"),
    "position": Source("wpe.weight"),
    "norm": Source("ln_f.weight"),
    "norm.bias": Source("ln_f.bias"),
    "head": Source("lm_head.weight"),
    "layer.{i}.norm1": Source("h.{i}.ln_1.weight"),
    "layer.{i}.norm1.bias": Source("h.{i}.ln_1.bias"),
    **{f"layer.{{i}}.{n}": Source("h.{i}.attn.c_attn.weight", transpose=True, among=_QKV) for n in _QKV},
    **{f"layer.{{i}}.{n}.bias": Source("h.{i}.attn.c_attn.bias", among=_QKV) for n in _QKV},
    "layer.{i}.o": Source("h.{i}.attn.c_proj.weight", transpose=True),
    "layer.{i}.o.bias": Source("h.{i}.attn.c_proj.bias"),
    "layer.{i}.norm2": Source("h.{i}.ln_2.weight"),
    "layer.{i}.norm2.bias": Source("h.{i}.ln_2.bias"),
    "layer.{i}.up": Source("h.{i}.mlp.c_fc.weight", transpose=True),
    "layer.{i}.up.bias": Source("h.{i}.mlp.c_fc.bias"),
    "layer.{i}.down": Source("h.{i}.mlp.c_proj.weight", transpose=True),
    "layer.{i}.down.bias": Source("h.{i}.mlp.c_proj.bias"),
}
GGUF = Gguf(
    arch="gpt2",
    fields={
        "n_embd": "embedding_length",
        "n_inner": "feed_forward_length",
        "n_layer": "block_count",
        "n_head": "attention.head_count",
        "n_positions": "context_length",
        "layer_norm_epsilon": "attention.layer_norm_epsilon",
    },
    constants={"activation_function": "gelu_new"},
    tensors=FUSED_QKV,
    rope=False,
)


def spec(c: Fields) -> Spec:
    """The spec of a GPT-2 config."""
    width, heads = c.integer("n_embd"), c.integer("n_head")
    c.expect("scale_attn_weights", True)
    c.expect("scale_attn_by_inverse_layer_idx", False)
    c.expect("add_cross_attention", False)
    norm = Norm(kind="layer", eps=c.number("layer_norm_epsilon", 1e-5))
    layer = Layer(
        norm=norm,
        attention=Attention(heads=heads, kv_heads=heads, head_dim=width // heads, qkv_bias=True, out_bias=True),
        mlp=Mlp(
            hidden=c.integer("n_inner", 4 * width),
            act=c.choice(
                "activation_function",
                {
                    "gelu_new": "gelu_tanh",
                    "gelu_pytorch_tanh": "gelu_tanh",
                    "gelu": "gelu",
                    "relu": "relu",
                    "silu": "silu",
                },
                "gelu_new",
            ),
            gated=False,
            bias=True,
        ),
    )
    return Spec(
        family=MODEL_TYPE,
        width=width,
        vocab=c.integer("vocab_size"),
        context=c.integer("n_positions"),
        layers=(layer,) * c.integer("n_layer"),
        norm=norm,
        learned_positions=True,
        tied=c.flag("tie_word_embeddings", True),
    )
