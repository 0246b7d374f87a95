"""Gives every matrix its number format, and puts activations into the format that it multiplies with."""

from dataclasses import replace

from llmos.compiler.formats import ACTIVATIONS
from llmos.compiler.graph import Block, Graph, Node
from llmos.compiler.passes.rewrite import rebuild
from llmos.core.errors import UserError

__all__ = ["choose_formats"]


def choose_formats(graph: Graph) -> Graph:
    """Annotates linear and embed nodes with `format`, experts with `formats` (of gate and up, of down); inserts quantize nodes,
    one per value and format of activations, where these are not float32. Embedding and head, before and after the layers, may
    have a format of their own. Matrices that choose experts stay float32: they are small, and another choice costs more than
    rounding does. Raises UserError where matrices that are computed as one have several formats.
    """
    weights = graph.facts["weights"]
    tables = graph.facts.get("tables", weights)
    return replace(
        graph,
        prologue=_format(graph.prologue, tables),
        kinds=tuple(_format(block, weights) for block in graph.kinds),
        epilogue=_format(graph.epilogue, tables),
    )


def _format(block: Block, weights: str) -> Block:
    nodes: list[Node] = []
    quantized: dict[tuple[str, str], str] = {}
    routers = {node.inputs[1] for node in block.nodes if node.op == "experts"}
    for node in block.nodes:
        formats = ["float32"] if node.out in routers else [_format_of(block, n, weights) for n in node.matrices]
        if node.op in ("linear", "add_linear", "experts"):
            value, dtype = node.inputs[0], ACTIVATIONS[formats[0]]
            if dtype != "float32" and (value, dtype) not in quantized:
                quantized[value, dtype] = name = f"{value}.{dtype}"
                width = block.shapes[node.params[0]][-1]
                nodes.append(Node(op="quantize", out=name, inputs=(value,), rows=node.rows, width=width, dtype=dtype))
            source = value if dtype == "float32" else quantized[value, dtype]
            noted = {"formats": tuple(formats)} if node.op == "experts" else {"format": formats[0]}
            node = replace(node, inputs=(source, *node.inputs[1:]), attrs={**node.attrs, **noted})
        elif node.op == "embed":
            node = replace(node, attrs={**node.attrs, "format": formats[0]})
        nodes.append(node)
    return rebuild(block, nodes)


def _format_of(block: Block, name: str, weights: str) -> str:
    """The format of a matrix, which all that are stacked in it must have."""
    parts = block.fused.get(name, (name,))
    formats = {block.formats.get(part, weights) for part in parts}
    if len(formats) > 1:  # a bundle's manifest may say so
        raise UserError(
            f"{', '.join(parts)} are computed as one and cannot have several formats: {', '.join(sorted(formats))}"
        )
    return formats.pop()
