"""Layers whose matrices have formats of their own: equal layers in other formats are other kinds."""

from collections.abc import Mapping
from dataclasses import replace

from llmos.compiler.graph import Block, Graph

__all__ = ["part_kinds"]


def part_kinds(graph: Graph, formats: Mapping[str, str]) -> Graph:
    """Notes in each layer's block the formats of its parameters, given by their full names, and parts kinds where they differ.

    An encoder's layers too. Names that no layer has mean nothing.
    """
    if not formats:
        return graph
    found: dict[tuple[int, tuple[tuple[str, str], ...]], int] = {}
    kinds: list[Block] = []
    layers = []
    for prefix, kind in zip(graph.prefixes, graph.layers, strict=True):
        block = graph.kinds[kind]
        names = dict.fromkeys((*block.shapes, *(part for parts in block.fused.values() for part in parts)))
        own = tuple((name, formats[prefix + name]) for name in names if prefix + name in formats)
        if (kind, own) not in found:
            found[kind, own] = len(kinds)
            kinds.append(replace(block, formats=dict(own)))
        layers.append(found[kind, own])
    encoder = None if graph.encoder is None else part_kinds(graph.encoder, formats)
    return replace(graph, kinds=tuple(kinds), layers=tuple(layers), encoder=encoder)
