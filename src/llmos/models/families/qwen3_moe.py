"""Qwen 3 with experts in some layers. Reference: transformers `modeling_qwen3_moe.py`; arXiv:2505.09388."""

from dataclasses import replace

from llmos.core.errors import UserError
from llmos.models.decoder_fields import ACTS, mlp_of, spec_of
from llmos.models.families import llama, qwen3
from llmos.models.fields import Fields
from llmos.models.gguf import DECODER, Gguf
from llmos.models.source import Source
from llmos.models.spec import Experts, Layer, Norm, Spec
from llmos.models.window_fields import window_when_used

MODEL_TYPE = "qwen3_moe"
ARCHITECTURE = "Qwen3MoeForCausalLM"
IGNORED = frozenset({"attention_dropout", "initializer_range", "max_window_layers"})  # its window is for all layers
IGNORED |= {"output_router_logits", "router_aux_loss_coef"}  # of training
PREFIXES = ("",)
UNUSED = llama.UNUSED
WEIGHTS = qwen3.WEIGHTS | {
    "layer.{i}.router": Source("model.layers.{i}.mlp.gate.weight"),
    "layer.{i}.expert.{e}.gate": Source("model.layers.{i}.mlp.experts.{e}.gate_proj.weight"),
    "layer.{i}.expert.{e}.up": Source("model.layers.{i}.mlp.experts.{e}.up_proj.weight"),
    "layer.{i}.expert.{e}.down": Source("model.layers.{i}.mlp.experts.{e}.down_proj.weight"),
}
GGUF = Gguf(
    arch="qwen3moe",
    fields=DECODER
    | {
        "num_experts": "expert_count",
        "num_experts_per_tok": "expert_used_count",
        "moe_intermediate_size": "expert_feed_forward_length",
    },
    constants={"hidden_act": "silu", "norm_topk_prob": True},
)


def spec(c: Fields) -> Spec:
    """The spec of a config of Qwen 3 with experts."""
    norm = Norm(kind="rms", eps=c.number("rms_norm_eps", 1e-6))
    attention = replace(qwen3.attention(c, head_dim=None), window=window_when_used(c))
    dense = Layer(norm=norm, attention=attention, mlp=mlp_of(c))
    mixed = replace(dense, mlp=_experts(c))
    step, only_dense = c.integer("decoder_sparse_step", 1), c.integers("mlp_only_layers", [])
    layers = tuple(
        mixed if (i + 1) % step == 0 and i not in only_dense else dense for i in range(c.integer("num_hidden_layers"))
    )
    return spec_of(c, MODEL_TYPE, layers, norm, context=32768)


def _experts(c: Fields) -> Experts:
    """Their number is num_experts on the Hub and num_local_experts where transformers 5 saved the config."""
    count = c.integer("num_local_experts", c.integer("num_experts", 128))
    if c.integer("num_experts", count) != count:
        raise UserError(f"{c.where}: num_experts and num_local_experts differ: remove the one that is wrong")
    return Experts(
        count=count,
        per_token=c.integer("num_experts_per_tok", 8),
        hidden=c.integer("moe_intermediate_size", 768),
        act=c.choice("hidden_act", ACTS, "silu"),
        normalised=c.flag("norm_topk_prob", False),
    )
