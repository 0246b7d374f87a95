"""Every parameter of a spec with its shape: what a trainer allocates and a loader must find."""

import math

from llmos.models.spec import Layer, Norm, Spec

__all__ = ["parameter_count", "shapes"]


def shapes(spec: Spec) -> dict[str, tuple[int, ...]]:
    """Parameter name -> shape, in the order of use. Linear weights are (out, in)."""
    out: dict[str, tuple[int, ...]] = {"embed": (spec.vocab, spec.width)}
    if spec.learned_positions:
        out["position"] = (spec.context, spec.width)
    for i, layer in enumerate(spec.layers):
        out |= {f"layer.{i}.{name}": shape for name, shape in layer_shapes(layer, spec.width).items()}
    out |= _norm("norm", spec.norm, spec.width)
    if not spec.tied:
        out["head"] = (spec.vocab, spec.width)
    return out


def layer_shapes(layer: Layer, width: int) -> dict[str, tuple[int, ...]]:
    """The parameters of one layer, without the `layer.{i}.` in front."""
    a, m = layer.attention, layer.mlp
    out = _norm("norm1", layer.norm, width)
    out |= _linear("q", a.heads * a.head_dim, width, a.qkv_bias)
    out |= _linear("k", a.kv_heads * a.head_dim, width, a.qkv_bias)
    out |= _linear("v", a.kv_heads * a.head_dim, width, a.qkv_bias)
    out |= _linear("o", width, a.heads * a.head_dim, a.out_bias)
    out |= _norm("norm2", layer.norm, width)
    if m.gated:
        out |= _linear("gate", m.hidden, width, m.bias)
    out |= _linear("up", m.hidden, width, m.bias)
    out |= _linear("down", width, m.hidden, m.bias)
    return out


def parameter_count(spec: Spec) -> int:
    """Number of stored values."""
    return sum(math.prod(shape) for shape in shapes(spec).values())


def _norm(name: str, norm: Norm, width: int) -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {name: (width,)}
    return out | {name + ".bias": (width,)} if norm.kind == "layer" else out


def _linear(name: str, rows: int, columns: int, bias: bool) -> dict[str, tuple[int, ...]]:
    return {name: (rows, columns)} | ({name + ".bias": (rows,)} if bias else {})
