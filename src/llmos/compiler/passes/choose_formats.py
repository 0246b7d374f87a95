"""Gives every matrix its number format, and puts activations into the format that it multiplies with."""

from dataclasses import replace

from llmos.compiler.formats import ACTIVATIONS
from llmos.compiler.graph import Block, Graph, Node
from llmos.compiler.passes.rewrite import rebuild

__all__ = ["choose_formats"]


def choose_formats(graph: Graph) -> Graph:
    """Annotates linear, experts and embed nodes with `format`; inserts quantize nodes, one per value, where activations are not
    float32. Embedding and head, before and after the layers, may have a format of their own.
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
    dtype = ACTIVATIONS[weights]
    for node in block.nodes:
        if node.op in ("linear", "add_linear", "experts"):
            value = node.inputs[0]
            if dtype != "float32" and value not in quantized:
                quantized[value] = f"{value}.q"
                width = block.shapes[node.params[0]][-1]
                nodes.append(
                    Node(op="quantize", out=quantized[value], inputs=(value,), rows=node.rows, width=width, dtype=dtype)
                )
            inputs = (quantized.get(value, value), *node.inputs[1:])
            node = replace(node, inputs=inputs, attrs={**node.attrs, "format": weights})
        elif node.op == "embed":
            node = replace(node, attrs={**node.attrs, "format": weights})
        nodes.append(node)
    return rebuild(block, nodes)
