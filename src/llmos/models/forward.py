"""The forward pass, written once. `ops` says what an operation does: numpy defines it, torch trains it, the compiler's
trace records it.

Axes: T tokens (leading batch axes may stand before it), D width, H query heads, K key/value heads, d head size, F hidden,
V vocabulary, O output rows. `w` maps parameter names (see `shapes`) to arrays; linear weights are (out, in).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from llmos.models.spec import Attention, Layer, Mlp, Norm, Spec

__all__ = ["forward"]


class _Scope:
    """The parameters of one layer."""

    def __init__(self, w: Mapping[str, Any], prefix: str):
        self.w, self.prefix = w, prefix

    def __getitem__(self, name: str) -> Any:
        return self.w[self.prefix + name]

    def bias(self, name: str, present: bool) -> Any:
        return self[name + ".bias"] if present else None


def forward(ops: Any, spec: Spec, w: Mapping[str, Any], tokens: Any, positions: Any) -> Any:
    """Next-token scores (O, V): O is T, or the rows that `ops.select_outputs` keeps.

    tokens, positions: (T,) integers, ids below `spec.vocab` and positions below `spec.context`.
    """
    x_TD = ops.rows(w["embed"], tokens)
    if spec.embed_scale != 1.0:
        x_TD = ops.mul(x_TD, spec.embed_scale)
    if spec.learned_positions:
        x_TD = ops.add(x_TD, ops.rows(w["position"], positions))
    for i, layer in enumerate(spec.layers):
        x_TD = ops.layer(i, partial(block, ops, layer, i, _Scope(w, f"layer.{i}."), positions), x_TD)
    x_OD = normalise(ops, spec.norm, _Scope(w, ""), "norm", ops.select_outputs(x_TD))
    return ops.linear(x_OD, w["embed" if spec.tied else "head"], None)


def block(ops: Any, layer: Layer, index: int, p: _Scope, positions: Any, x_TD: Any) -> Any:
    x_TD = ops.add(
        x_TD, attention(ops, layer.attention, index, p, normalise(ops, layer.norm, p, "norm1", x_TD), positions)
    )
    return ops.add(x_TD, mlp(ops, layer.mlp, p, normalise(ops, layer.norm, p, "norm2", x_TD)))


def normalise(ops: Any, norm: Norm, p: _Scope, name: str, x_TD: Any) -> Any:
    if norm.kind == "rms":
        return ops.rms_norm(x_TD, p[name], norm.eps)
    return ops.layer_norm(x_TD, p[name], p[name + ".bias"], norm.eps)


def attention(ops: Any, a: Attention, index: int, p: _Scope, x_TD: Any, positions: Any) -> Any:
    q_THd = ops.split_heads(ops.linear(x_TD, p["q"], p.bias("q", a.qkv_bias)), a.heads)
    k_TKd = ops.split_heads(ops.linear(x_TD, p["k"], p.bias("k", a.qkv_bias)), a.kv_heads)
    v_TKd = ops.split_heads(ops.linear(x_TD, p["v"], p.bias("v", a.qkv_bias)), a.kv_heads)
    if a.rope is not None:
        q_THd, k_TKd = ops.rope(q_THd, positions, a.rope), ops.rope(k_TKd, positions, a.rope)
    out_THd = ops.attention(q_THd, k_TKd, v_TKd, positions, index)
    return ops.linear(ops.merge_heads(out_THd), p["o"], p.bias("o", a.out_bias))


def mlp(ops: Any, m: Mlp, p: _Scope, x_TD: Any) -> Any:
    h_TF = ops.linear(x_TD, p["up"], p.bias("up", m.bias))
    if m.gated:
        h_TF = ops.mul(ops.act(ops.linear(x_TD, p["gate"], p.bias("gate", m.bias)), m.act), h_TF)
    else:
        h_TF = ops.act(h_TF, m.act)
    return ops.linear(h_TF, p["down"], p.bias("down", m.bias))
