"""The forward pass, written once. `ops` says what an operation does: numpy defines it, torch trains it, the compiler's
trace records it.

Axes: T tokens (leading batch axes may stand before it), D width, H query heads, K key/value heads, d head size, F hidden,
E experts, V vocabulary, O output rows, S tokens of a source. `w` maps parameter names (see `shapes`) to arrays; linear weights are (out, in).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from llmos.models.spec import Attention, Experts, HeadNorm, Layer, Mlp, Norm, Spec

__all__ = ["encode", "forward", "memories", "remember"]


class _Scope:
    """The parameters of one layer."""

    def __init__(self, w: Mapping[str, Any], prefix: str):
        self.w, self.prefix = w, prefix

    def __getitem__(self, name: str) -> Any:
        return self.w[self.prefix + name]

    def bias(self, name: str, present: bool) -> Any:
        return self[name + ".bias"] if present else None


def forward(
    ops: Any,
    spec: Spec,
    w: Mapping[str, Any],
    tokens: Any,
    positions: Any,
    memory: Sequence[Any] | None = None,
) -> Any:
    """Next-token scores (O, V), of a model without a head hidden rows (O, D): O is T, or what `ops.select_outputs` keeps.

    tokens, positions: (T,) integers, ids below `spec.vocab` and positions below `spec.context`. memory: what each layer
    remembers of the source (`memories`), where the model has an encoder.
    """
    p = _Scope(w, "")
    x_TD = embed(ops, spec, p, tokens, positions)
    for i, layer in enumerate(spec.layers):
        of_source = None if memory is None else memory[i]
        x_TD = ops.layer(
            f"layer.{i}.", partial(block, ops, layer, _Scope(w, f"layer.{i}."), positions, of_source), x_TD
        )
    return head(ops, spec, p, ops.select_outputs(x_TD))


def encode(ops: Any, spec: Spec, w: Mapping[str, Any], tokens: Any, positions: Any) -> Any:
    """What the encoder makes of a whole source: (S, D). tokens, positions: (S,)."""
    assert spec.encoder is not None, "the model has no encoder"
    x_SD = embed(ops, spec, _Scope(w, ""), tokens, positions)
    for i, layer in enumerate(spec.encoder.layers):
        prefix = f"encoder.{i}."
        x_SD = ops.layer(prefix, partial(block, ops, layer, _Scope(w, prefix), positions, None), x_SD)
    if spec.encoder.norm is None:
        return x_SD
    return ops.layer("", partial(normalise, ops, spec.encoder.norm, _Scope(w, ""), "encoder.norm"), x_SD)


def memories(ops: Any, spec: Spec, w: Mapping[str, Any], source_SD: Any) -> list[Any]:
    """For each layer of the decoder the keys and values (S, K, d) of an encoded source."""
    return [
        remember(ops, layer.cross, w, f"layer.{i}.", source_SD)
        for i, layer in enumerate(spec.layers)
        if layer.cross is not None
    ]


def remember(ops: Any, a: Attention, w: Mapping[str, Any], prefix: str, source_SD: Any) -> Any:
    """Keys and values (S, K, d) of an encoded source for the layer of the decoder whose parameters have a prefix."""
    p = _Scope(w, prefix)
    k_SKd = ops.split_heads(ops.linear(source_SD, p["cross.k"], p.bias("cross.k", a.qkv_bias)), a.kv_heads)
    v_SKd = ops.split_heads(ops.linear(source_SD, p["cross.v"], p.bias("cross.v", a.qkv_bias)), a.kv_heads)
    return k_SKd, v_SKd


def embed(ops: Any, spec: Spec, p: _Scope, tokens: Any, positions: Any) -> Any:
    x_TD = ops.rows(p["embed"], tokens)
    if spec.embed_scale != 1.0:
        x_TD = ops.mul(x_TD, spec.embed_scale)
    if spec.embed_width is not None:
        x_TD = ops.linear(x_TD, p["embed_in"], None)
    if spec.token_types:
        x_TD = ops.add_first_row(x_TD, p["token_type"])
    if spec.learned_positions:
        x_TD = ops.add(x_TD, ops.rows(p["position"], positions))
    return x_TD if spec.embed_norm is None else normalise(ops, spec.embed_norm, p, "embed_norm", x_TD)


def head(ops: Any, spec: Spec, p: _Scope, x_OD: Any) -> Any:
    if spec.norm is not None:
        x_OD = normalise(ops, spec.norm, p, "norm", x_OD)
    x_OD = ops.hidden(x_OD)
    if not spec.head:
        return x_OD
    if spec.embed_width is not None:
        x_OD = ops.linear(x_OD, p["embed_out"], None)
    scores_OV = ops.linear(x_OD, p["embed" if spec.tied else "head"], p.bias("head", spec.head_bias))
    if spec.logit_scale != 1.0:
        scores_OV = ops.mul(scores_OV, spec.logit_scale)
    return scores_OV if spec.logit_softcap is None else ops.softcap(scores_OV, spec.logit_softcap)


def block(ops: Any, layer: Layer, p: _Scope, positions: Any, memory: Any, x_TD: Any) -> Any:
    def attend(h_TD: Any) -> Any:
        return scaled(ops, layer, attention(ops, layer.attention, p, h_TD, positions))

    def recall(h_TD: Any) -> Any:
        assert layer.cross is not None
        return scaled(ops, layer, cross_attention(ops, layer.cross, p, h_TD, memory))

    def feed(h_TD: Any) -> Any:
        return scaled(ops, layer, feed_forward(ops, layer.mlp, p, h_TD))

    if layer.parallel:
        h_TD = normalise(ops, layer.norm, p, "norm1", x_TD)
        fed_TD = feed(h_TD if layer.shared_norm else normalise(ops, layer.norm, p, "norm2", x_TD))
        return ops.add(ops.add(x_TD, attend(h_TD)), fed_TD)
    x_TD = residual(ops, layer, p, "1", attend, x_TD)
    if layer.cross is not None:
        x_TD = residual(ops, layer, p, "_cross", recall, x_TD)
    return residual(ops, layer, p, "2", feed, x_TD)


def residual(ops: Any, layer: Layer, p: _Scope, number: str, branch: Callable[[Any], Any], x_TD: Any) -> Any:
    """x with a branch added, its norms where the layer has them."""
    before, after = layer.norms in ("pre", "sandwich"), layer.norms in ("output", "sandwich")
    h_TD = branch(normalise(ops, layer.norm, p, "norm" + number, x_TD) if before else x_TD)
    if after:
        h_TD = normalise(ops, layer.norm, p, "post" + number, h_TD)
    x_TD = ops.add(x_TD, h_TD)
    return normalise(ops, layer.norm, p, "norm" + number, x_TD) if layer.norms == "post" else x_TD


def scaled(ops: Any, layer: Layer, h_TD: Any) -> Any:
    return h_TD if layer.branch_scale == 1.0 else ops.mul(h_TD, layer.branch_scale)


def normalise(ops: Any, norm: Norm, p: _Scope, name: str, x_TD: Any) -> Any:
    if norm.kind == "rms":
        return ops.rms_norm(x_TD, p[name], norm.eps)
    return ops.layer_norm(x_TD, p[name], p.bias(name, norm.bias), norm.eps)


def attention(ops: Any, a: Attention, p: _Scope, x_TD: Any, positions: Any) -> Any:
    q_THd = heads(ops, a.qk_norm, p, "q", ops.linear(x_TD, p["q"], p.bias("q", a.qkv_bias)), a.heads)
    k_TKd = heads(ops, a.qk_norm, p, "k", ops.linear(x_TD, p["k"], p.bias("k", a.qkv_bias)), a.kv_heads)
    v_TKd = ops.split_heads(ops.linear(x_TD, p["v"], p.bias("v", a.qkv_bias)), a.kv_heads)
    if a.rope is not None:
        q_THd, k_TKd = ops.rope(q_THd, positions, a.rope), ops.rope(k_TKd, positions, a.rope)
    biases = p["relative"] if a.relative is not None else None
    out_THd = ops.attention(q_THd, k_TKd, v_TKd, positions, a, biases)
    return ops.linear(ops.merge_heads(out_THd), p["o"], p.bias("o", a.out_bias))


def cross_attention(ops: Any, a: Attention, p: _Scope, x_TD: Any, memory: Any) -> Any:
    q_THd = ops.split_heads(ops.linear(x_TD, p["cross.q"], p.bias("cross.q", a.qkv_bias)), a.heads)
    out_THd = ops.cross_attention(q_THd, memory, a)
    return ops.linear(ops.merge_heads(out_THd), p["cross.o"], p.bias("cross.o", a.out_bias))


def heads(ops: Any, norm: HeadNorm | None, p: _Scope, name: str, x_TD: Any, count: int) -> Any:
    """Queries or keys by heads, normalised where the model does."""
    if norm is None:
        return ops.split_heads(x_TD, count)
    if norm.over == "width":
        return ops.split_heads(normalise(ops, norm.norm, p, name + "_norm", x_TD), count)
    return normalise(ops, norm.norm, p, name + "_norm", ops.split_heads(x_TD, count))


def feed_forward(ops: Any, m: Mlp | Experts, p: _Scope, x_TD: Any) -> Any:
    return experts(ops, m, p, x_TD) if isinstance(m, Experts) else mlp(ops, m, p, x_TD)


def mlp(ops: Any, m: Mlp, p: _Scope, x_TD: Any) -> Any:
    h_TF = ops.linear(x_TD, p["up"], p.bias("up", m.bias))
    if m.gated:
        h_TF = ops.mul(ops.act(ops.linear(x_TD, p["gate"], p.bias("gate", m.bias)), m.act), h_TF)
    else:
        h_TF = ops.act(h_TF, m.act)
    return ops.linear(h_TF, p["down"], p.bias("down", m.bias))


def experts(ops: Any, m: Experts, p: _Scope, x_TD: Any) -> Any:
    scores_TE = ops.linear(x_TD, p["router"], None)
    gates, ups, downs = ([p[f"expert.{e}.{name}"] for e in range(m.count)] for name in ("gate", "up", "down"))
    return ops.experts(x_TD, scores_TE, gates, ups, downs, m)
