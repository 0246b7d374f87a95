"""OPT: learned positions whose table starts with two rows that no token has; the 350M model has its norms after the
branches and narrower embeddings. Reference: transformers `modeling_opt.py`; arXiv:2205.01068."""

from llmos.models.decoder_fields import ACTS
from llmos.models.fields import Fields
from llmos.models.source import Source
from llmos.models.spec import Attention, Layer, Mlp, Norm, Spec

MODEL_TYPE = "opt"
ARCHITECTURE = "OPTForCausalLM"
IGNORED = frozenset({"activation_dropout", "attention_dropout", "dropout", "init_std", "layerdrop", "prefix"})
PREFIXES = ("model.", "")
UNUSED = ()
WEIGHTS = {
    "embed": Source("decoder.embed_tokens.weight"),
    "embed_in": Source("decoder.project_in.weight"),
    "embed_out": Source("decoder.project_out.weight"),
    "position": Source("decoder.embed_positions.weight", skip=2),
    "norm": Source("decoder.final_layer_norm.weight"),
    "norm.bias": Source("decoder.final_layer_norm.bias"),
    "head": Source("lm_head.weight"),
    "layer.{i}.norm1": Source("decoder.layers.{i}.self_attn_layer_norm.weight"),
    "layer.{i}.norm1.bias": Source("decoder.layers.{i}.self_attn_layer_norm.bias"),
    "layer.{i}.q": Source("decoder.layers.{i}.self_attn.q_proj.weight"),
    "layer.{i}.q.bias": Source("decoder.layers.{i}.self_attn.q_proj.bias"),
    "layer.{i}.k": Source("decoder.layers.{i}.self_attn.k_proj.weight"),
    "layer.{i}.k.bias": Source("decoder.layers.{i}.self_attn.k_proj.bias"),
    "layer.{i}.v": Source("decoder.layers.{i}.self_attn.v_proj.weight"),
    "layer.{i}.v.bias": Source("decoder.layers.{i}.self_attn.v_proj.bias"),
    "layer.{i}.o": Source("decoder.layers.{i}.self_attn.out_proj.weight"),
    "layer.{i}.o.bias": Source("decoder.layers.{i}.self_attn.out_proj.bias"),
    "layer.{i}.norm2": Source("decoder.layers.{i}.final_layer_norm.weight"),
    "layer.{i}.norm2.bias": Source("decoder.layers.{i}.final_layer_norm.bias"),
    "layer.{i}.up": Source("decoder.layers.{i}.fc1.weight"),
    "layer.{i}.up.bias": Source("decoder.layers.{i}.fc1.bias"),
    "layer.{i}.down": Source("decoder.layers.{i}.fc2.weight"),
    "layer.{i}.down.bias": Source("decoder.layers.{i}.fc2.bias"),
}


def spec(c: Fields) -> Spec:
    """The spec of an OPT config."""
    c.expect("layer_norm_elementwise_affine", True)
    width, heads = c.integer("hidden_size"), c.integer("num_attention_heads")
    embed_width = c.integer("word_embed_proj_dim", width)
    norm, bias = Norm(kind="layer", eps=1e-5), c.flag("enable_bias", True)
    before, last = c.flag("do_layer_norm_before", True), not c.flag("_remove_final_layer_norm", False)
    act = c.choice("activation_function", ACTS, "relu")
    layer = Layer(
        norm=norm,
        attention=Attention(heads=heads, kv_heads=heads, head_dim=width // heads, qkv_bias=bias, out_bias=bias),
        mlp=Mlp(hidden=c.integer("ffn_dim"), act=act, gated=False, bias=bias),
        norms="pre" if before else "post",
    )
    return Spec(
        family=MODEL_TYPE,
        width=width,
        vocab=c.integer("vocab_size"),
        context=c.integer("max_position_embeddings", 2048),
        layers=(layer,) * c.integer("num_hidden_layers"),
        norm=norm if before and last else None,
        embed_width=None if embed_width == width else embed_width,
        learned_positions=True,
        tied=c.flag("tie_word_embeddings", True),
    )
