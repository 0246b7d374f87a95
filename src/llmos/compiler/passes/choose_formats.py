"""Gives every matrix its number format, and puts activations into the format that it multiplies with."""

from dataclasses import replace

from llmos.compiler.formats import ACTIVATIONS
from llmos.compiler.graph import Block, Graph, Node
from llmos.compiler.passes.rewrite import rebuild

__all__ = ["choose_formats"]


def choose_formats(graph: Graph) -> Graph:
    """Annotates linear, experts and embed nodes with `format`; inserts quantize nodes, one per value, where activations are not
    float32. Embedding and head, before and after the layers, may have a format of their own. Matrices that choose
    experts stay float32: they are small, and another choice costs more than rounding does.
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
    quantized: dict[str, str] = {}
    routers = {node.inputs[1] for node in block.nodes if node.op == "experts"}
    for node in block.nodes:
        format = "float32" if node.out in routers else weights
        if node.op in ("linear", "add_linear", "experts"):
            value, dtype = node.inputs[0], ACTIVATIONS[format]
            if dtype != "float32" and value not in quantized:
                quantized[value] = f"{value}.q"
                width = block.shapes[node.params[0]][-1]
                nodes.append(
                    Node(op="quantize", out=quantized[value], inputs=(value,), rows=node.rows, width=width, dtype=dtype)
                )
            source = value if dtype == "float32" else quantized[value]
            node = replace(node, inputs=(source, *node.inputs[1:]), attrs={**node.attrs, "format": format})
        elif node.op == "embed":
            node = replace(node, attrs={**node.attrs, "format": format})
        nodes.append(node)
    return rebuild(block, nodes)
