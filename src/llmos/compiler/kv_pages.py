"""How many bytes stored keys and values take: what `KvHead` in native/include/llmos/pages.h comes to, by numbers.

A test holds it to what compiled code says of itself; known here, it is known before anything is compiled.
"""

from llmos.compiler.graph import Graph

__all__ = ["PAGE_TOKENS", "kv_page_bytes", "page_bytes"]

PAGE_TOKENS = 32
_LANES, _LINE = 16, 64
_ELEMENT = {"float32": 4, "float16": 2, "bf16": 2, "int8": 1}


def kv_page_bytes(kv_heads: int, head_dim: int, format: str) -> int:
    """Bytes of a page of PAGE_TOKENS tokens in one layer: keys, values padded to lanes, and for int8 a scale of each per token.

    Keys in bf16 are padded to pairs.
    """
    places = _rounded(head_dim, 2) if format == "bf16" else head_dim
    keys = _rounded(_ELEMENT[format] * places * PAGE_TOKENS, _LINE)
    values = _rounded(_ELEMENT[format] * _rounded(head_dim, _LANES) * PAGE_TOKENS, _LINE)
    scales = 2 * 4 * PAGE_TOKENS if format == "int8" else 0
    return kv_heads * (keys + values + scales)


def page_bytes(graph: Graph) -> int:
    """Bytes of a page in all layers of a planned graph: `llmos_page_bytes` of its code.

    With an encoder, a page may hold positions of a source instead: its layers use one place in turn, and what every layer of the
    decoder attends to comes behind.
    """
    of_sequence = sum(_layer_bytes(graph, "append_attend"))
    if graph.encoder is None:
        return of_sequence
    of_source = max(_layer_bytes(graph.encoder, "append_attend")) + sum(_layer_bytes(graph.encoder, "append_cross"))
    return max(of_sequence, of_source)


def _layer_bytes(graph: Graph, op: str) -> list[int]:
    """Bytes that each layer stores by an operation."""
    attrs = [next((node.attrs for node in kind.nodes if node.op == op), None) for kind in graph.kinds]
    kinds = [kv_page_bytes(a["kv_heads"], a["head_dim"], graph.facts["kv"]) if a else 0 for a in attrs]
    return [kinds[kind] for kind in graph.layers]


def _rounded(n: int, unit: int) -> int:
    return -(-n // unit) * unit
