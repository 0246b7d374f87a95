"""Records the forward pass of a spec as a graph: `models.forward` runs once with operations that write nodes."""

from dataclasses import asdict, replace
from functools import partial
from typing import Any

from llmos.compiler.graph import Block, Graph, Node, check
from llmos.models import Layer, Spec, encode, forward, remember, shapes

__all__ = ["trace"]


class _Value:
    """A matrix during tracing: the name of its value; heads is set while the last axis is split."""

    def __init__(self, name: str, rows: str, width: int, heads: int | None = None):
        self.name, self.rows, self.width, self.heads = name, rows, width, heads


class _Parameters(dict[str, str]):
    """Gives parameter names in place of arrays."""

    def __missing__(self, name: str) -> str:
        return name


class _Recorder:
    """The operation set of the trace. Nodes go to the block that is open."""

    def __init__(self, spec: Spec):
        self.spec, self.shapes = spec, shapes(spec)
        self.prologue: list[Node] = []
        self.layers: list[list[Node]] = []
        self.prefixes: list[str] = []
        self.epilogue: list[Node] = []
        self.open, self.prefix = self.prologue, ""
        self.fused: dict[str, dict[str, tuple[str, ...]]] = {}  # prefix -> parameter made of others -> those

    def layer(self, prefix, block, x):
        self.open, self.prefix = [], prefix
        self.layers.append(self.open)
        self.prefixes.append(prefix)
        out = block(_Value("%x", x.rows, x.width))
        self.open, self.prefix = self.epilogue, ""
        return _Value("%x", out.rows, out.width)

    def rows(self, table, ids):
        op = {"embed": "embed", "position": "position"}[table]
        return self._node(op, (), "T", self.shapes[table][1], (table,))

    def add_first_row(self, x, table):
        return self._node("add_first_row", (x,), x.rows, x.width, (table,))

    def add(self, a, b):
        return self._node("add", (a, b), a.rows, a.width)

    def mul(self, a, b):
        if isinstance(b, float):
            return self._node("scale", (a,), a.rows, a.width, by=b)
        return self._node("mul", (a, b), a.rows, a.width)

    def linear(self, x, w, b):
        rows, columns = self.shapes[w]
        return self._node("linear", (x,), x.rows, rows, (w, b) if b else (w,), **{"in": columns})

    def softcap(self, x, cap):
        return self._node("softcap", (x,), x.rows, x.width, cap=cap)

    def rms_norm(self, x, scale, eps):
        return self._norm("rms_norm", x, (scale,), eps)

    def layer_norm(self, x, scale, bias, eps):
        return self._norm("layer_norm", x, (scale, bias) if bias else (scale,), eps)

    def _norm(self, op, x, params, eps):
        attrs = {"eps": eps} | ({"heads": x.heads} if x.heads else {})
        return self._node(op, (x,), x.rows, x.width, params, heads=x.heads, attrs=attrs)

    def split_heads(self, x, n):
        return _Value(x.name, x.rows, x.width, n)

    def merge_heads(self, x):
        return _Value(x.name, x.rows, x.width)

    def rope(self, x, positions, rope):
        head_dim = x.width // x.heads
        before = self.spec.ropes[: self.spec.ropes.index((rope, head_dim))]
        attrs = {"heads": x.heads, "rope": asdict(rope), "rotated": rope.rotated or head_dim}
        attrs["table"] = sum(other.rotated or size for other, size in before)
        return self._node("rope", (x,), x.rows, x.width, heads=x.heads, attrs=attrs)

    def attention(self, q, k, v, positions, a, biases):
        attrs = {"heads": a.heads, "kv_heads": a.kv_heads, "head_dim": a.head_dim, "scale": a.score_scale}
        attrs |= {"window": a.window, "softcap": a.softcap, "causal": a.causal}
        attrs["relative"] = asdict(a.relative) if a.relative else None
        params = (biases,) if a.relative else ()
        return self._node("attention", (q, k, v), q.rows, q.width, params, heads=q.heads, attrs=attrs)

    def remember(self, memory, x):
        attrs = {"kv_heads": memory[0].heads, "head_dim": memory[0].width // memory[0].heads}
        return self._node("remember", (*memory, x), x.rows, x.width, attrs=attrs)

    def cross_attention(self, q, memory, a):
        attrs = {"heads": a.heads, "kv_heads": a.kv_heads, "head_dim": a.head_dim, "scale": a.score_scale}
        return self._node("cross_attend", (q,), q.rows, q.width, heads=q.heads, attrs=attrs | {"softcap": a.softcap})

    def experts(self, x, scores, gates, ups, downs, m):
        gate_up = tuple(name for pair in zip(gates, ups, strict=True) for name in pair)
        fused = {"experts.gate_up": gate_up, "experts.down": tuple(downs)}
        self.fused[self.prefix] = {
            name: tuple(part.removeprefix(self.prefix) for part in parts) for name, parts in fused.items()
        }
        self.shapes[self.prefix + "experts.gate_up"] = (m.count, 2 * m.hidden, x.width)
        self.shapes[self.prefix + "experts.down"] = (m.count, x.width, m.hidden)
        return self._node("experts", (x, scores), x.rows, x.width, tuple(fused), attrs=asdict(m) | {"width": x.width})

    def act(self, x, kind):
        return self._node("act", (x,), x.rows, x.width, kind=kind)

    def select_outputs(self, x):
        return self._node("select_outputs", (x,), "O", x.width)

    def hidden(self, x):
        return self._node("hidden", (x,), x.rows, x.width)

    def _node(self, op, inputs, rows, width, params=(), heads=None, **attrs: Any) -> _Value:
        attrs = attrs.pop("attrs", attrs)
        names = tuple(p.removeprefix(self.prefix) for p in params)
        node = Node(
            op=op,
            out=f"%{len(self.open)}",
            inputs=tuple(v.name for v in inputs),
            rows=rows,
            width=width,
            params=names,
            attrs=attrs,
        )
        self.open.append(node)
        return _Value(node.out, rows, width, heads)


def trace(spec: Spec) -> Graph:
    """The graph of a spec's forward pass, before any pass."""
    recorder = _Recorder(spec)
    stored = None if spec.encoder is None else [None] * len(spec.layers)  # cross-attention finds it in pages
    forward(recorder, spec, _Parameters(), "tokens", "positions", stored)
    graph = _graph(recorder)
    return graph if spec.encoder is None else replace(graph, encoder=_trace_encoder(spec))


def _trace_encoder(spec: Spec) -> Graph:
    """The graph that reads a source: the encoder, then a layer for each of the decoder that stores its keys and values."""
    recorder, w = _Recorder(spec), _Parameters()
    x_SD = encode(recorder, spec, w, "tokens", "positions")
    for i, layer in enumerate(spec.layers):
        prefix = f"layer.{i}."
        x_SD = recorder.layer(prefix, partial(_store, recorder, layer, w, prefix), x_SD)
    recorder.select_outputs(x_SD)
    return _graph(recorder)


def _store(recorder: _Recorder, layer: Layer, w: _Parameters, prefix: str, x_SD: _Value) -> _Value:
    assert layer.cross is not None, "every layer of a decoder with an encoder has cross-attention"
    return recorder.remember(remember(recorder, layer.cross, w, prefix, x_SD), x_SD)


def _graph(recorder: _Recorder) -> Graph:
    spec, prefixes = recorder.spec, recorder.prefixes
    kinds: dict[str, Block] = {}
    layers = []
    for prefix, nodes in zip(prefixes, recorder.layers, strict=True):
        block = _block(nodes, recorder.shapes, prefix, recorder.fused.get(prefix))
        key = repr(block)
        kinds.setdefault(key, block)
        layers.append(list(kinds).index(key))
    graph = Graph(
        prologue=_block(recorder.prologue, recorder.shapes, ""),
        kinds=tuple(kinds.values()),
        layers=tuple(layers),
        epilogue=_block(recorder.epilogue, recorder.shapes, ""),
        facts={"width": spec.width, "vocab": spec.vocab, "tied": spec.tied, "family": spec.family, "head": spec.head},
        prefixes=tuple(prefixes),
    )
    check(graph)
    return graph


def _block(nodes: list[Node], shapes_of: dict, prefix: str, fused: dict[str, tuple[str, ...]] | None = None) -> Block:
    used = [name for node in nodes for name in node.params]
    return Block(
        nodes=tuple(nodes), shapes={name: shapes_of[prefix + name] for name in dict.fromkeys(used)}, fused=fused or {}
    )
