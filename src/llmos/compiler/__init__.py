"""From a spec to machine code: trace, graph, passes, C++, the toolchain, and the local cache of code."""

from llmos.compiler.build import Options, build_graph
from llmos.compiler.code import cached_library, compile_code, open_library
from llmos.compiler.emit import emit
from llmos.compiler.formats import FORMATS, KV_FORMATS
from llmos.compiler.graph import Graph, dict_hash, graph_hash, to_dict
from llmos.compiler.implementations import (
    Implementation,
    attention_implementation,
    implementation,
    product_implementation,
    row_implementation,
)
from llmos.compiler.kernel_names import kernel_names
from llmos.compiler.kv_pages import PAGE_TOKENS, kv_page_bytes, page_bytes
from llmos.compiler.layout import Section, layout, layout_hash
from llmos.compiler.processor import chosen_target, machine_features
from llmos.compiler.stored_graph import other_weights
from llmos.compiler.targets import TARGETS, Target, target_named
from llmos.compiler.toolchain import build_shared, toolchain_id

__all__ = [
    "FORMATS",
    "KV_FORMATS",
    "PAGE_TOKENS",
    "TARGETS",
    "Graph",
    "Implementation",
    "Options",
    "Section",
    "Target",
    "attention_implementation",
    "build_graph",
    "build_shared",
    "cached_library",
    "chosen_target",
    "compile_code",
    "dict_hash",
    "emit",
    "graph_hash",
    "implementation",
    "kernel_names",
    "kv_page_bytes",
    "layout",
    "layout_hash",
    "machine_features",
    "open_library",
    "other_weights",
    "page_bytes",
    "product_implementation",
    "row_implementation",
    "target_named",
    "to_dict",
    "toolchain_id",
]
