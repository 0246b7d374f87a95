"""From a spec to the planned graph: trace, then every pass of the pipeline, checked after each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from llmos.compiler.formats import FORMATS, KV_FORMATS
from llmos.compiler.graph import Graph, check, text
from llmos.compiler.kinds import part_kinds
from llmos.compiler.passes import PIPELINE
from llmos.compiler.trace import trace
from llmos.core.errors import UserError
from llmos.core.files import atomic_write
from llmos.models import Spec

__all__ = ["Options", "build_graph"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """weights: format of the matrices; kv: of stored keys and values; tables: of embedding, positions and head, None: `weights`.

    matrices: (name, format) of matrices of layers that have another; those that are fused must have one format.
    """

    weights: Literal["float32", "float16", "bf16", "int8", "int4", "uint4"] = "float32"
    kv: Literal["float32", "float16", "bf16", "int8"] = "float32"
    tables: Literal["float32", "float16", "bf16", "int8", "int4", "uint4"] | None = None
    matrices: tuple[tuple[str, str], ...] = ()

    def __post_init__(self):
        for name, known in (("weights", FORMATS), ("kv", KV_FORMATS), ("tables", (None, *FORMATS))):
            if getattr(self, name) not in known:
                raise UserError(
                    f"{name} format {getattr(self, name)!r} is not known; allowed: {', '.join(filter(None, known))}"
                )
        for name, format in self.matrices:
            if format not in FORMATS:
                raise UserError(f"format {format!r} of {name} is not known; allowed: {', '.join(FORMATS)}")


def build_graph(spec: Spec, options: Options, *, dump: Path | None = None) -> Graph:
    """The planned graph of a spec. dump: folder that receives the graph as text after the trace and after each pass.

    Raises UserError for formats of single matrices that the model cannot have.
    """
    graph = part_kinds(trace(spec), {name: own for name, own in options.matrices if own != options.weights})
    facts: dict[str, Any] = {"weights": options.weights, "kv": options.kv, "ropes": len(spec.ropes)}
    if options.tables not in (None, options.weights):
        facts["tables"] = options.tables
    encoder = None if graph.encoder is None else _run_passes(graph.encoder, facts, dump, "encoder-")
    return _run_passes(replace(graph, encoder=encoder), facts, dump, "")


def _run_passes(graph: Graph, facts: Mapping[str, Any], dump: Path | None, name: str) -> Graph:
    graph = replace(graph, facts={**graph.facts, **facts})
    _dump(graph, dump, 0, f"{name}trace")
    for i, run in enumerate(PIPELINE, start=1):
        graph = run(graph)
        check(graph)
        _dump(graph, dump, i, name + run.__name__)
    return graph


def _dump(graph: Graph, folder: Path | None, number: int, name: str) -> None:
    if folder is not None:
        with atomic_write(folder / f"{number:02}-{name}.txt") as file:
            file.write(text(graph).encode())
