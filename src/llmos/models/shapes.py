"""Every parameter of a spec with its shape: what a trainer allocates and a loader must find."""

import math

from llmos.models.spec import Attention, Experts, Layer, Mlp, Norm, Spec

__all__ = ["layer_shapes", "parameter_count", "shapes", "share_of_tokens"]

Shapes = dict[str, tuple[int, ...]]


def shapes(spec: Spec) -> Shapes:
    """Parameter name -> shape, in the order of use. Linear weights are (out, in)."""
    embed_width = spec.embed_width or spec.width
    out: Shapes = {"embed": (spec.vocab, embed_width)}
    if spec.embed_width is not None:
        out["embed_in"] = (spec.width, embed_width)
    if spec.token_types:
        out["token_type"] = (spec.token_types, spec.width)
    if spec.learned_positions:
        out["position"] = (spec.context, spec.width)
    out |= _norm("embed_norm", spec.embed_norm, spec.width)
    if spec.encoder is not None:
        for i, layer in enumerate(spec.encoder.layers):
            out |= {f"encoder.{i}.{name}": shape for name, shape in layer_shapes(layer, spec.width).items()}
        out |= _norm("encoder.norm", spec.encoder.norm, spec.width)
    for i, layer in enumerate(spec.layers):
        out |= {f"layer.{i}.{name}": shape for name, shape in layer_shapes(layer, spec.width).items()}
    out |= _norm("norm", spec.norm, spec.width)
    if not spec.head:
        return out
    if spec.embed_width is not None:
        out["embed_out"] = (embed_width, spec.width)
    if not spec.tied:
        out["head"] = (spec.vocab, embed_width)
    return out | ({"head.bias": (spec.vocab,)} if spec.head_bias else {})


def layer_shapes(layer: Layer, width: int) -> Shapes:
    """The parameters of one layer, without the `layer.{i}.` in front."""
    out: Shapes = {}
    for part, shapes_of_part in _parts(layer, width).items():
        for name in layer.norm_names:
            out |= _norm(name, layer.norm, width) if name.endswith(part) else {}
        out |= shapes_of_part
    return out


def _parts(layer: Layer, width: int) -> dict[str, Shapes]:
    """The matrices of each part of a layer, by the end of the names of its norms."""
    parts = {"1": _attention("", layer.attention, width)}
    if layer.cross is not None:
        parts["cross"] = _attention("cross.", layer.cross, width)
    parts["2"] = _experts(layer.mlp, width) if isinstance(layer.mlp, Experts) else _mlp(layer.mlp, width)
    return parts


def parameter_count(spec: Spec) -> int:
    """Number of stored values."""
    return sum(math.prod(shape) for shape in shapes(spec).values())


def share_of_tokens(spec: Spec, name: str) -> float:
    """The share of tokens that a parameter of a layer works on: less than all of them for an expert's."""
    if ".expert." not in name:
        return 1.0
    experts = spec.layers[int(name.split(".")[1])].mlp
    assert isinstance(experts, Experts), name
    return experts.per_token / experts.count


def _attention(prefix: str, a: Attention, width: int) -> Shapes:
    queries, keys = a.heads * a.head_dim, a.kv_heads * a.head_dim
    out = _linear(prefix + "q", queries, width, a.qkv_bias)
    out |= _linear(prefix + "k", keys, width, a.qkv_bias)
    out |= _linear(prefix + "v", keys, width, a.qkv_bias)
    if a.qk_norm is not None:
        over = a.qk_norm.over
        for name, heads in (("q_norm", a.heads), ("k_norm", a.kv_heads)):
            of = {"head": (a.head_dim,), "own": (heads, a.head_dim), "width": (heads * a.head_dim,)}
            out[prefix + name] = of[over]
    if a.relative is not None:
        out[prefix + "relative"] = (a.relative.buckets, a.heads)
    return out | _linear(prefix + "o", width, queries, a.out_bias)


def _mlp(m: Mlp, width: int) -> Shapes:
    out = _linear("gate", m.hidden, width, m.bias) if m.gated else {}
    out |= _linear("up", m.hidden, width, m.bias)
    return out | _linear("down", width, m.hidden, m.bias)


def _experts(m: Experts, width: int) -> Shapes:
    out: Shapes = {"router": (m.count, width)}
    for e in range(m.count):
        out |= {f"expert.{e}.gate": (m.hidden, width), f"expert.{e}.up": (m.hidden, width)}
        out[f"expert.{e}.down"] = (width, m.hidden)
    return out


def _norm(name: str, norm: Norm | None, width: int) -> Shapes:
    if norm is None:
        return {}
    out: Shapes = {name: (width,)}
    return out | {name + ".bias": (width,)} if norm.has_bias else out


def _linear(name: str, rows: int, columns: int, bias: bool) -> Shapes:
    out: Shapes = {name: (rows, columns)}
    return out | ({name + ".bias": (rows,)} if bias else {})
