"""The graph: typed SSA nodes over symbolic sizes, one block of nodes per distinct kind of layer.

Rows are symbolic: `T` tokens of the step or `O` output rows; widths are numbers. A value is named `%n` inside its block; a
block reads `%x` and gives `%n` of its last node. Parameters are named as in `models.shapes`, inside a layer block without
the layer's prefix (`layer.{i}.`). Since equal layers share a block, compile time does not grow with depth.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

__all__ = ["OPS", "Block", "Graph", "Node", "check", "dict_hash", "dumps", "graph_hash", "text", "to_dict"]

# Operation -> (number of value operands, meaning). None: any number.
OPS = {
    "embed": (0, "rows of the packed embedding table for the step's token ids"),
    "position": (0, "rows of the learned position table for the step's positions"),
    "add_first_row": (1, "x plus the first row of a table"),
    "scale": (1, "x times a constant"),
    "add": (2, "elementwise sum"),
    "mul": (2, "elementwise product"),
    "softcap": (1, "cap * tanh(x / cap)"),
    "rms_norm": (1, "x / rms(x) * scale; heads: of each head of a row"),
    "layer_norm": (1, "(x - mean) / std * scale (+ bias); heads: of each head of a row"),
    "linear": (1, "x W^T + bias"),
    "rope": (1, "rotary positions on the heads of x"),
    "attention": (3, "attention of q over the sequence's keys and values: causal, or to all of them"),
    "act": (1, "activation"),
    "gated_act": (1, "act(first half) times second half of each row"),
    "append_attend": (
        1,
        "norms of heads, rope, store keys and values, attend: of rows that hold q, k and v side by side",
    ),
    "remember": (3, "stores keys and values (first two) that a decoder layer will attend to; gives the third back"),
    "append_cross": (2, "the same, of rows that hold k and v side by side; gives the second back"),
    "cross_attend": (1, "attention of q over what the encoder stored for the sequence's source"),
    "experts": (2, "gated MLPs of the experts that the second operand's scores choose, weighted and summed"),
    "quantize": (1, "rows in the activation format of a weight format"),
    "select_outputs": (1, "the rows whose scores are wanted"),
    "hidden": (1, "x, which a step may give out; what follows is left out where no scores are wanted"),
    "gated_linear": (1, "act(x G^T) * (x U^T) for a matrix of the rows of G, then those of U"),
    "add_linear": (2, "second operand plus linear of the first"),
}


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation: `out` = op(`inputs`, `params`, `attrs`), a matrix of `rows` (T or O) by `width`."""

    op: str
    out: str
    inputs: tuple[str, ...]
    rows: str
    width: int
    params: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"

    @property
    def matrices(self) -> tuple[str, ...]:
        """Those of its parameters that have a number format; the others are plain float32."""
        if self.op == "experts":
            return self.params
        return self.params[:1] if self.op in ("linear", "add_linear", "gated_linear", "embed") else ()

    @property
    def formats(self) -> dict[str, str]:
        """The formats of its matrices, which `choose_formats` has noted."""
        noted = self.attrs["formats"] if self.op == "experts" else [self.attrs["format"]] * len(self.matrices)
        return dict(zip(self.matrices, noted, strict=True))


@dataclass(frozen=True, kw_only=True)
class Block:
    """Nodes in execution order. shapes: every parameter that they read. fused: parameter made of others -> those, stacked.

    formats: of the model's matrices that have another than most.
    """

    nodes: tuple[Node, ...]
    shapes: Mapping[str, tuple[int, ...]]
    fused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)

    @property
    def result(self) -> Node:
        return self.nodes[-1]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """prologue, then `kinds[k]` for each k in `layers`, then epilogue. facts: vocabulary, width, formats, rope tables.

    prefixes: what stands before the parameters' names of each layer. encoder: the graph that reads a source; its last layers
    store what those of this one attend to.
    """

    prologue: Block
    kinds: tuple[Block, ...]
    layers: tuple[int, ...]
    epilogue: Block
    facts: Mapping[str, Any]
    prefixes: tuple[str, ...]
    buffers: Mapping[str, Any] = field(default_factory=dict)  # filled by plan_memory
    encoder: "Graph | None" = None

    def blocks(self) -> Iterator[tuple[str, Block]]:
        """The blocks with their names."""
        yield "prologue", self.prologue
        for i, block in enumerate(self.kinds):
            yield f"kind{i}", block
        yield "epilogue", self.epilogue

    def map_blocks(self, change) -> "Graph":
        """The same graph with every block changed by `change(block)`."""
        return replace(
            self,
            prologue=change(self.prologue),
            kinds=tuple(change(block) for block in self.kinds),
            epilogue=change(self.epilogue),
        )


def check(graph: Graph) -> None:
    """Assert the invariants that every pass must keep."""
    assert len(graph.layers) == len(graph.prefixes), "every layer has a prefix"
    assert set(graph.layers) == set(range(len(graph.kinds))), f"layers {graph.layers} do not use all kinds"
    for name, block in graph.blocks():
        widths: dict[str, int] = {} if name == "prologue" else {"%x": graph.facts["width"]}
        for node in block.nodes:
            assert node.op in OPS, f"{name}: unknown operation {node.op}"
            assert len(node.inputs) == OPS[node.op][0], (
                f"{name}: {node.op} takes {OPS[node.op][0]} values, has {node.inputs}"
            )
            assert node.out not in widths, f"{name}: {node.out} is assigned twice"
            assert node.rows in ("T", "O") and node.width > 0, f"{name}: {node.out} has no shape"
            for value in node.inputs:
                assert value in widths, f"{name}: {node.op} reads {value} before it exists"
            for parameter in node.params:
                assert parameter in block.shapes, f"{name}: {node.op} reads unknown parameter {parameter}"
            if node.op in ("linear", "add_linear", "gated_linear"):
                rows, columns = block.shapes[node.params[0]]
                made = 2 * node.width if node.op == "gated_linear" else node.width
                assert (rows, columns) == (made, node.attrs["in"]), f"{name}: {node.out} does not fit {node.params[0]}"
            widths[node.out] = node.width


def to_dict(graph: Graph) -> dict[str, Any]:
    """Plain data, the form stored in a bundle."""
    return json.loads(json.dumps(asdict(graph)))


def dumps(graph: Graph) -> str:
    """Canonical JSON: equal graphs give equal text."""
    return _canonical(to_dict(graph))


def _canonical(graph: Any) -> str:
    return json.dumps(graph, sort_keys=True, separators=(",", ":"))


def graph_hash(graph: Graph) -> str:
    """SHA-256 of the canonical JSON."""
    return dict_hash(to_dict(graph))


def dict_hash(graph: Any) -> str:
    """The same of what `to_dict` gave, which a bundle stores."""
    return hashlib.sha256(_canonical(graph).encode()).hexdigest()


def text(graph: Graph) -> str:
    """The graph for reading: a line per node."""
    lines = [
        f"# layers: {len(graph.layers)} of {len(graph.kinds)} kind(s)  facts: {json.dumps(graph.facts, sort_keys=True)}"
    ]
    for name, block in graph.blocks():
        lines.append(f"\n{name}(%x):" if name != "prologue" else f"{name}():")
        for n in block.nodes:
            operands = ", ".join([*n.inputs, *n.params])
            attrs = " ".join(f"{k}={json.dumps(v)}" for k, v in sorted(n.attrs.items()))
            lines.append(f"  {n.out}: {n.dtype}[{n.rows}, {n.width}] = {n.op}({operands}) {attrs}".rstrip())
    of_encoder = "" if graph.encoder is None else "\n# encoder\n" + text(graph.encoder)
    return "\n".join(lines) + "\n" + of_encoder
