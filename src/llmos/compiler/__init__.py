"""From a spec to machine code: trace, graph, passes, C++, the toolchain, and the local cache of code."""

from llmos.compiler.build import FORMATS, Options, build_graph
from llmos.compiler.code import compile_code
from llmos.compiler.emit import emit
from llmos.compiler.graph import Graph, from_dict, graph_hash, to_dict
from llmos.compiler.layout import Section, layout
from llmos.compiler.targets import TARGETS, Target, target_named
from llmos.compiler.toolchain import build_shared, toolchain_id

__all__ = [
    "FORMATS",
    "TARGETS",
    "Graph",
    "Options",
    "Section",
    "Target",
    "build_graph",
    "build_shared",
    "compile_code",
    "emit",
    "from_dict",
    "graph_hash",
    "layout",
    "target_named",
    "to_dict",
    "toolchain_id",
]
