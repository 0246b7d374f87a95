"""Layers whose matrices have formats of their own: equal layers in other formats are other kinds."""

from collections.abc import Mapping
from dataclasses import replace

from llmos.compiler.graph import Block, Graph
from llmos.core.errors import UserError

__all__ = ["part_kinds"]


def part_kinds(graph: Graph, formats: Mapping[str, str]) -> Graph:
    """Notes in each layer's block the formats of its matrices, given by their full names, and parts kinds where they differ.

    graph: as traced; an encoder's layers are parted too. Raises UserError for names that are no matrices of layers, or those
    of matrices that are float32 in any format.
    """
    if not formats:
        return graph
    unknown = sorted(formats.keys() - _matrices(graph))
    if unknown:
        raise UserError(
            f"{', '.join(unknown[:3])} cannot have a format of their own: only matrices of this model's layers can"
        )
    return _parted(graph, formats)


def _parted(graph: Graph, formats: Mapping[str, str]) -> Graph:
    found: dict[tuple[int, tuple[tuple[str, str], ...]], int] = {}
    kinds: list[Block] = []
    layers = []
    for prefix, kind in zip(graph.prefixes, graph.layers, strict=True):
        block = graph.kinds[kind]
        own = tuple((name, formats[prefix + name]) for name in _of_block(block) if prefix + name in formats)
        if (kind, own) not in found:
            found[kind, own] = len(kinds)
            kinds.append(replace(block, formats=dict(own)))
        layers.append(found[kind, own])
    encoder = None if graph.encoder is None else _parted(graph.encoder, formats)
    return replace(graph, kinds=tuple(kinds), layers=tuple(layers), encoder=encoder)


def _matrices(graph: Graph) -> set[str]:
    """Full names of the matrices of all layers."""
    of_encoder = set() if graph.encoder is None else _matrices(graph.encoder)
    of_kinds = [_of_block(block) for block in graph.kinds]
    layers = zip(graph.prefixes, graph.layers, strict=True)
    return of_encoder | {prefix + name for prefix, kind in layers for name in of_kinds[kind]}


def _of_block(block: Block) -> list[str]:
    """The model's matrices that a layer multiplies with, but for those that choose experts."""
    routers = {node.inputs[1] for node in block.nodes if node.op == "experts"}
    read = [name for node in block.nodes if node.out not in routers for name in node.matrices]
    return [part for name in read for part in block.fused.get(name, (name,))]
