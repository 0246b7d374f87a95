"""`compile_model`: a checkpoint becomes a bundle, with the lineage of what it was made from."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmos import __version__
from llmos.api.adapters import Adapters, NamedAdapter, adapter_list
from llmos.api.explain import Explanation, explain_bundle
from llmos.api.images import Images, check_bundle_disk
from llmos.api.limits import check_memory
from llmos.api.notice import ModelNotice
from llmos.api.opening import open_source
from llmos.api.options import choose_options, formats_of
from llmos.api.place import keep_sums_of
from llmos.api.prepare import demand
from llmos.api.roofs import Roofs
from llmos.api.source import Source, percent, told
from llmos.api.verify import Report, publishable, verify, write_report
from llmos.artifact import PackedBytes, check_packed, write_bundle
from llmos.artifact.bundle import check_bundle_name
from llmos.compiler import Options, build_graph, chosen_target, compile_code, graph_hash, layout_hash, to_dict
from llmos.core.errors import FormatError, UserError
from llmos.core.files import atomic_path, sha256_file
from llmos.core.names import takes_named
from llmos.hardware import usable_cores
from llmos.native import include_dir, sources_hash
from llmos.runtime import native_checksum
from llmos.text import Tokenizer

__all__ = ["Compiled", "compile_model"]


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What became of a model. report: how far it is from its checkpoint; explanation: what its operations cost, where asked for."""

    path: Path
    n_bytes: int
    report: Report | None
    explanation: Explanation | None

    def __str__(self) -> str:
        return str(self.explanation) if self.explanation else (str(self.report) if self.report else str(self.path))


@takes_named
def compile_model(
    name: str,
    output: str | Path,
    *,
    weights: str | None = None,
    kv: str | None = None,
    target: str | None = None,
    adapter: Adapters = None,
    explain: bool = False,
    roofs: Roofs | None = None,
    dump: Path | None = None,
    verified: bool = True,
    max_kl: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Compiled:
    """Compile a model into the bundle `output`, and its code for this machine into the local cache.

    weights, kv: number formats (None: the checkpoint's precision). adapter: one or several to merge into it, in order. dump:
    folder for the graph after each pass. verified: compare it with the checkpoint before it appears (`llmos.api.verify`); max_kl:
    mean divergence in nats that is allowed, None for the format's own limit. With `explain` there is what every operation
    costs, predicted by `roofs`, which are measured in this call where they are not given (`llmos.api.measure_roofs`), and measured
    on the bundle's own code. Raises UserError, FormatError and ResourceError as `load_model` does, and VerificationError where
    it is too far from its checkpoint: nothing is written then.
    """
    check_bundle_name(Path(output))
    if max_kl is not None and not max_kl > 0:
        raise UserError(f"max_kl is {max_kl!r}; it must be a number of nats above 0")
    if max_kl is not None and not verified:
        raise UserError("max_kl limits what verification finds, and verified=False leaves it out: give one of them")
    source = open_source(name, adapter_list(adapter), progress)
    if source.bundle is not None:
        raise UserError(f"{name} is compiled already: give the checkpoint that it was made from")
    for text in told(source, weights):
        warnings.warn(text, ModelNotice, stacklevel=3)
    options, licence = choose_options(source, weights, kv), _licence(source.resolved.path)
    graph = build_graph(source.spec, options, dump=dump)
    check_memory(demand(source, graph, context=source.spec.context, given=(weights, kv), verb="pack"))
    check_bundle_disk(source, options, graph, Path(output))
    chosen = chosen_target(target)
    library = compile_code(graph, chosen, include=include_dir(), kernels_hash=sources_hash(), progress=progress)
    format = source.prompt_format
    tokenizer = Tokenizer(format) if format else None
    if tokenizer:
        tokenizer.check_vocab(source.spec.vocab)
    documents = {
        "spec": source.config,
        "graph": to_dict(graph),
        "prompt_format": format.to_dict() if format else None,
        "golden": tokenizer.golden() if tokenizer else [],
        "lineage": _lineage(source, name, options),
        "reports": {},
    }
    facts = {
        "producer": f"llmos {__version__}",
        "graph": graph_hash(graph),
        "layout": layout_hash(graph),
        "formats": formats_of(options),
        "generation": source.generation,
        "embedding": source.embedding.to_dict() if source.embedding else None,
    }
    images = Images(source=source, options=options, graph=graph, library=library)
    output = Path(output)
    with _packed(images, output, progress) as packed, atomic_path(output) as path:
        if progress:
            progress(f"writing {output}")
        payload = write_bundle(
            path, documents=documents, facts=facts, weights=packed, licence=licence, threads=usable_cores()
        )
        report = (
            verify(source, options, path, target=chosen.name, max_kl=max_kl, progress=progress) if verified else None
        )
        publishable(report, name)
    write_report(report, output, payload)
    if report is not None:  # then the bundle was read and is whole
        keep_sums_of(output, packed.sums)
    explanation = None
    if explain:
        explanation = explain_bundle(
            output, Path(name).name, graph, chosen, roofs, context=source.spec.context, progress=progress
        )
    return Compiled(path=output, n_bytes=output.stat().st_size, report=report, explanation=explanation)


@contextmanager
def _packed(images: Images, output: Path, progress: Callable[[str], None] | None) -> Iterator[PackedBytes]:
    """The packed weights in a file: an image that loading has left, or one beside the output that goes when the block ends.

    Of one that is not finished the parts stay there when the process is killed, and the next one goes on with them.
    """
    found = _whole_image(images)
    if found is not None:
        yield found
        return
    check_bundle_disk(images.source, images.options, images.graph, output)
    beside = replace(images, beside=output)
    made = _whole_image(beside) or beside.make(percent(progress, "packing weights"))
    try:
        yield made
    finally:
        made.path.unlink(missing_ok=True)


def _whole_image(images: Images) -> PackedBytes | None:
    """The image that is there, every byte of it compared; one that is damaged is removed."""
    found = images.find()
    if found is None:
        return None
    try:
        check_packed(found, native_checksum(images.library), threads=usable_cores())
    except FormatError as error:
        images.remove(found.path, str(error))
        return None
    return found


def _lineage(source: Source, name: str, options: Options) -> dict[str, Any]:
    """Hashes of the files that went in, and the recipe."""
    return {
        "verb": "compile",
        "source": Path(name).name if Path(name).exists() else name,
        "files": {_within(source.resolved.path, file): sha256_file(file) for file in source.files},
        "adapters": [_lineage_of(each) for each in source.adapters],
        "recipe": formats_of(options),
        "producer": f"llmos {__version__}",
    }


def _within(folder: Path, file: Path) -> str:
    """The name of a file as it is known in its model's folder."""
    return file.relative_to(folder).as_posix() if folder.is_dir() and file.is_relative_to(folder) else file.name


def _lineage_of(each: NamedAdapter) -> dict[str, Any]:
    files = {file.name: sha256_file(file) for file in each.adapter.files()}
    return {"source": Path(each.name).name if Path(each.name).exists() else each.name, "files": files}


def _licence(path: Path) -> str | None:
    """The text of the first file LICENSE* of a checkpoint's folder; folders of that name hold those of its parts."""
    found = sorted(file for file in path.glob("LICENSE*") if file.is_file()) if path.is_dir() else []
    try:
        return found[0].read_text(encoding="utf-8", errors="replace") if found else None
    except OSError as error:
        raise UserError(f"cannot read {found[0]}: {error.strerror}") from error
