"""Where every parameter lies in the packed weights: fixed by graph and formats, known to the code and to the packer alike."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from llmos.compiler.graph import Block, Graph
from llmos.weights import packed_bytes

__all__ = ["Section", "layout", "layout_hash"]

_ALIGN = 64


@dataclass(frozen=True, kw_only=True)
class Section:
    """One parameter. parts: the model's parameters stacked in it; format: of packed weights, or plain (float32 rows).

    shape: (rows, columns), with the number of matrices before it where there is one for each expert.
    """

    name: str
    parts: tuple[str, ...]
    shape: tuple[int, ...]
    format: str
    offset: int
    n_bytes: int

    @property
    def n_matrices(self) -> int:
        return self.shape[0] if len(self.shape) == 3 and self.format != "plain" else 1


def layout(graph: Graph) -> list[Section]:
    """The sections in file order. Offsets are multiples of 64; a tied head is the embedding's section."""
    sections: list[Section] = []
    seen: set[str] = set()
    offset = 0
    for prefix, block in _instances(graph):
        for name, shape in block.shapes.items():
            full = prefix + name
            if full in seen:
                continue  # the embedding table, met again as a tied head or by the encoder
            seen.add(full)
            format = _format(block, name)
            parts = tuple(prefix + part for part in block.fused.get(name, (name,)))
            n_bytes = _section_bytes(shape, format)
            sections.append(Section(name=full, parts=parts, shape=shape, format=format, offset=offset, n_bytes=n_bytes))
            offset += -(-n_bytes // _ALIGN) * _ALIGN
    return sections


def layout_hash(graph: Graph) -> str:
    """SHA-256 of what `layout` says: two graphs that have it can read the same packed weights."""
    sections = json.dumps([asdict(section) for section in layout(graph)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(sections.encode()).hexdigest()


def _section_bytes(shape: tuple[int, ...], format: str) -> int:
    if format == "plain":
        return 4 * math.prod(shape)
    *copies, rows, columns = shape
    return math.prod(copies) * packed_bytes(rows, columns, format)


def _instances(graph: Graph) -> Iterator[tuple[str, Block]]:
    """Every block where it stands, and what its parameters' names begin with."""
    yield "", graph.prologue
    for prefix, kind in zip(graph.prefixes, graph.layers, strict=True):
        yield prefix, graph.kinds[kind]
    yield "", graph.epilogue
    if graph.encoder is not None:
        yield from _instances(graph.encoder)


def _format(block: Block, name: str) -> str:
    """The format that a matrix is read in, which `choose_formats` has noted; plain for what is no matrix."""
    for node in block.nodes:
        if name in node.matrices:
            return node.formats[name]
    return "plain"
