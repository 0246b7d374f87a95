"""Granite: Llama with factors of embeddings, scores, branches and logits. Reference: transformers `modeling_granite.py`."""

from llmos.models.decoder_fields import attention_of, mlp_of, repeated, spec_of
from llmos.models.families import llama
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, Gguf
from llmos.models.spec import Layer, Norm, Spec

MODEL_TYPE = "granite"
ARCHITECTURE = "GraniteForCausalLM"
IGNORED = frozenset({"attention_dropout", "initializer_range"})
PREFIXES = ("",)
UNUSED = llama.UNUSED
WEIGHTS = llama.WEIGHTS
GGUF = Gguf(
    arch="granite",
    fields=DECODER
    | {
        "embedding_multiplier": "embedding_scale",
        "residual_multiplier": "residual_scale",
        "attention_multiplier": "attention.scale",
        "logits_scaling": "logit_scale",
    },
    constants={"hidden_act": "silu"},
    present={"attention_bias": "blk.0.attn_q.bias", "mlp_bias": "blk.0.ffn_up.bias"},
    neighbours=True,
)


def spec(c: Fields) -> Spec:
    """The spec of a Granite config."""
    norm, bias = Norm(kind="rms", eps=c.number("rms_norm_eps", 1e-6)), c.flag("attention_bias", False)
    scale = c.number("attention_multiplier", 1.0)
    layer = Layer(
        norm=norm,
        attention=attention_of(c, qkv_bias=bias, out_bias=bias, scale=scale),
        mlp=mlp_of(c, bias=c.flag("mlp_bias", False)),
        branch_scale=c.number("residual_multiplier", 1.0),
    )
    scales = c.number("embedding_multiplier", 1.0), 1 / c.positive("logits_scaling", 1.0)
    return spec_of(c, MODEL_TYPE, repeated(c, layer), norm, context=2048, embed_scale=scales[0], logit_scale=scales[1])
