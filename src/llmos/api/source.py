"""An opened model: what it is, what a user should know of it, and how its weights get into a graph's layout."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmos.api.adapters import NamedAdapter
from llmos.api.assemble import fill_weights
from llmos.api.base_names import other_bases
from llmos.api.embedding_settings import EmbeddingSettings
from llmos.api.file_states import FileStates
from llmos.artifact import Bundle
from llmos.compiler import Graph
from llmos.hub import Resolved
from llmos.models import Spec
from llmos.runtime import native_packer
from llmos.text import PromptFormat
from llmos.weights import GgufFile, Parameters
from llmos.weights.peft import AdaptedParameters

__all__ = ["Source", "percent", "told"]

_READ_AS_THEY_ARE = {"float32", "float16", "bf16"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """An opened model: what it is and how its weights get into a graph's layout.

    files: those that were read for it; tokenizer_unapplied: what its tokenizer settings ask for and is not done; adapters: what
    is merged into it, in order; precision: of the matrices of its layers; tables: that of embedding and head where it is another;
    matrices: those of the layers that have another than most, by name; notices: what a user should know who leaves the weight
    format to us; stored: how its tensors are stored, where that is more than its precision; embedding: what it says of how it is
    to embed texts; states: of its files, before they were opened.
    """

    resolved: Resolved
    files: tuple[Path, ...]
    config: dict[str, Any]
    spec: Spec
    prompt_format: PromptFormat | None
    precision: str
    tables: str | None = None
    matrices: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    generation: dict[str, Any] = field(default_factory=dict)
    embedding: EmbeddingSettings | None = None
    tokenizer_unapplied: tuple[str, ...] = ()
    parameters: Parameters | AdaptedParameters | None = None
    adapters: tuple[NamedAdapter, ...] = ()
    stored: str | None = None
    bundle: Bundle | None = None
    states: FileStates = field(default_factory=dict)

    @property
    def mapped(self) -> tuple[Path, ...]:
        """The files whose pages are mapped while weights are packed; a bundle is read instead."""
        return () if self.parameters is None else tuple(self.parameters.checkpoint.files())

    @property
    def converted(self) -> bool:
        """Whether matrices are made of codes or sums first, before they are packed."""
        kinds = {self.precision, self.tables or self.precision, *self.matrices.values()}
        return self.parameters is not None and (bool(self.adapters) or not kinds <= _READ_AS_THEY_ARE)

    def fill(self, graph: Graph, library: Path, out: memoryview, progress: Callable[[str], None] | None) -> None:
        """Pack the weights into `out`. library: the graph's compiled code, which packs them."""
        assert self.parameters is not None, "what has no parameters is packed already"
        report, release = percent(progress, "packing weights"), self.parameters.checkpoint.release
        fill_weights(graph, self.parameters, out, report, native_packer(library), release)


def told(source: Source, weights: str | None) -> tuple[str, ...]:
    """What a user should know of the model that was found, of its adapters, and of the weight format where none was asked for."""
    other = other_bases(source.resolved, source.config, source.adapters, _titles(source))
    found = other if source.resolved.notice is None else (source.resolved.notice, *other)
    return found if weights is not None else (*found, *source.notices)


def _titles(source: Source) -> Iterator[str]:
    """What a model calls itself inside its file."""
    checkpoint = None if source.parameters is None else source.parameters.checkpoint
    title = checkpoint.metadata.get("general.name") if isinstance(checkpoint, GgufFile) else None
    if isinstance(title, str):
        yield title


def percent(progress: Callable[[str], None] | None, what: str) -> Callable[[int, int], None] | None:
    """A report of bytes done and bytes in all, told as a share."""
    return None if progress is None else lambda done, total: progress(f"{what} {100 * done // max(total, 1)} %")
