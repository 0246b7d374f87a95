"""Mixtral: Mistral with experts in every layer. Reference: transformers `modeling_mixtral.py`; arXiv:2401.04088."""

from llmos.models.decoder_fields import ACTS, attention_of, repeated, spec_of
from llmos.models.families import llama
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, Gguf
from llmos.models.source import Source
from llmos.models.spec import Experts, Layer, Norm, Spec

MODEL_TYPE = "mixtral"
ARCHITECTURE = "MixtralForCausalLM"
IGNORED = frozenset({"attention_dropout", "initializer_range"})
IGNORED |= {"output_router_logits", "router_aux_loss_coef", "router_jitter_noise"}  # of training
PREFIXES = ("",)
UNUSED = llama.UNUSED
WEIGHTS = llama.WEIGHTS | {
    "layer.{i}.router": Source("model.layers.{i}.block_sparse_moe.gate.weight"),
    "layer.{i}.expert.{e}.gate": Source("model.layers.{i}.block_sparse_moe.experts.{e}.w1.weight"),
    "layer.{i}.expert.{e}.up": Source("model.layers.{i}.block_sparse_moe.experts.{e}.w3.weight"),
    "layer.{i}.expert.{e}.down": Source("model.layers.{i}.block_sparse_moe.experts.{e}.w2.weight"),
}
GGUF = Gguf(
    arch="llama",
    when="expert_count",
    fields=DECODER | {"num_local_experts": "expert_count", "num_experts_per_tok": "expert_used_count"},
    constants={"hidden_act": "silu"},
    neighbours=True,
)


def spec(c: Fields) -> Spec:
    """The spec of a Mixtral config."""
    norm = Norm(kind="rms", eps=c.number("rms_norm_eps", 1e-5))
    experts = Experts(
        count=c.integer("num_local_experts", 8),
        per_token=c.integer("num_experts_per_tok", 2),
        hidden=c.integer("intermediate_size"),
        act=c.choice("hidden_act", ACTS, "silu"),
    )
    attention = attention_of(c, theta=1e6, window=c.integer_or_none("sliding_window"))
    layer = Layer(norm=norm, attention=attention, mlp=experts)
    return spec_of(c, MODEL_TYPE, repeated(c, layer), norm, context=131072)
