"""Records the forward pass of a spec as a graph: `models.forward` runs once with operations that write nodes."""

from dataclasses import asdict
from typing import Any

from llmos.compiler.graph import Block, Graph, Node, check
from llmos.models import Spec, forward, shapes

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
        self.epilogue: list[Node] = []
        self.open, self.prefix = self.prologue, ""

    def layer(self, index, block, x):
        self.open, self.prefix = [], f"layer.{index}."
        self.layers.append(self.open)
        out = block(_Value("%x", x.rows, x.width))
        self.open, self.prefix = self.epilogue, ""
        return _Value("%x", out.rows, out.width)

    def rows(self, table, ids):
        op = {"embed": "embed", "position": "position"}[table]
        return self._node(op, (), "T", self.shapes[table][1], (table,))

    def add(self, a, b):
        return self._node("add", (a, b), a.rows, a.width)

    def mul(self, a, b):
        if isinstance(b, float):
            return self._node("scale", (a,), a.rows, a.width, by=b)
        return self._node("mul", (a, b), a.rows, a.width)

    def linear(self, x, w, b):
        rows, columns = self.shapes[w]
        return self._node("linear", (x,), x.rows, rows, (w, b) if b else (w,), **{"in": columns})

    def rms_norm(self, x, scale, eps):
        return self._node("rms_norm", (x,), x.rows, x.width, (scale,), eps=eps)

    def layer_norm(self, x, scale, bias, eps):
        return self._node("layer_norm", (x,), x.rows, x.width, (scale, bias), eps=eps)

    def split_heads(self, x, n):
        return _Value(x.name, x.rows, x.width, n)

    def merge_heads(self, x):
        return _Value(x.name, x.rows, x.width)

    def rope(self, x, positions, rope):
        attrs = {"heads": x.heads, "rope": asdict(rope)}
        return self._node("rope", (x,), x.rows, x.width, heads=x.heads, attrs=attrs)

    def attention(self, q, k, v, positions, layer):
        attrs = {"heads": q.heads, "kv_heads": k.heads, "head_dim": q.width // q.heads}
        return self._node("attention", (q, k, v), q.rows, q.width, heads=q.heads, attrs=attrs)

    def act(self, x, kind):
        return self._node("act", (x,), x.rows, x.width, kind=kind)

    def select_outputs(self, x):
        return self._node("select_outputs", (x,), "O", x.width)

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
    forward(recorder, spec, _Parameters(), "tokens", "positions")
    kinds: dict[str, Block] = {}
    layers = []
    for i, nodes in enumerate(recorder.layers):
        block = _block(nodes, recorder.shapes, f"layer.{i}.")
        key = repr(block)
        kinds.setdefault(key, block)
        layers.append(list(kinds).index(key))
    graph = Graph(
        prologue=_block(recorder.prologue, recorder.shapes, ""),
        kinds=tuple(kinds.values()),
        layers=tuple(layers),
        epilogue=_block(recorder.epilogue, recorder.shapes, ""),
        facts={"width": spec.width, "vocab": spec.vocab, "tied": spec.tied, "family": spec.family},
    )
    check(graph)
    return graph


def _block(nodes: list[Node], shapes_of: dict, prefix: str) -> Block:
    used = [name for node in nodes for name in node.params]
    return Block(nodes=tuple(nodes), shapes={name: shapes_of[prefix + name] for name in dict.fromkeys(used)})
