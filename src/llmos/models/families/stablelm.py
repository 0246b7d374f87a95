"""StableLM: layer norms, a rope that turns part of a head, parallel branches in the larger ones.

Reference: transformers `modeling_stablelm.py`; arXiv:2402.17834.
"""

from llmos.models.decoder_fields import attention_of, mlp_of, repeated, spec_of
from llmos.models.families import llama
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, Gguf
from llmos.models.source import Source
from llmos.models.spec import HeadNorm, Layer, Norm, Spec

MODEL_TYPE = "stablelm"
ARCHITECTURE = "StableLmForCausalLM"
IGNORED = frozenset({"attention_dropout", "hidden_dropout", "initializer_range"})
PREFIXES = ("",)
UNUSED = llama.UNUSED
WEIGHTS = llama.WEIGHTS | {
    "norm.bias": Source("model.norm.bias"),
    "layer.{i}.norm1.bias": Source("model.layers.{i}.input_layernorm.bias"),
    "layer.{i}.norm2.bias": Source("model.layers.{i}.post_attention_layernorm.bias"),
    "layer.{i}.q_norm": Source("model.layers.{i}.self_attn.q_layernorm.norms.{r}.weight"),
    "layer.{i}.k_norm": Source("model.layers.{i}.self_attn.k_layernorm.norms.{r}.weight"),
}
GGUF = Gguf(
    arch="stablelm",
    fields=DECODER
    | {"layer_norm_eps": "attention.layer_norm_epsilon", "use_parallel_residual": "use_parallel_residual"},
    constants={"hidden_act": "silu"},
    present={"use_qkv_bias": "blk.0.attn_q.bias", "qk_layernorm": "blk.0.attn_q_norm.weight"},
    share="partial_rotary_factor",
)


def spec(c: Fields) -> Spec:
    """The spec of a StableLM config."""
    eps = c.number("layer_norm_eps", 1e-5)
    norm, parallel = Norm(kind="layer", eps=eps), c.flag("use_parallel_residual", False)
    own = HeadNorm(norm=Norm(kind="layer", eps=eps, bias=False), over="own")
    attention = attention_of(
        c,
        share=0.25,
        qkv_bias=c.flag("use_qkv_bias", False),
        qk_norm=own if c.flag("qk_layernorm", False) else None,
    )
    layer = Layer(norm=norm, attention=attention, mlp=mlp_of(c), parallel=parallel, shared_norm=parallel)
    return spec_of(c, MODEL_TYPE, repeated(c, layer), norm, context=4096)
