"""What the packed weights of a source depend on, as one key: never the same for two that could differ.

A file is known by its size, its inode, the times when its bytes and its inode last changed, and a sample of its bytes. The system
sets the second time whenever a file is written or replaced, and no program can set it back. Hashing all of a large file takes
longer than reading packed weights.
"""

import functools
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from llmos import compiler, models, weights
from llmos.api.file_states import are_same
from llmos.api.options import formats_of
from llmos.api.source import Source
from llmos.compiler import Graph, Options, graph_hash
from llmos.core.errors import ResourceError
from llmos.native import sources_hash
from llmos.runtime import packing

__all__ = ["code_files", "files_key", "image_key", "is_settled"]

_DECIDING = ("adapters", "assemble", "gguf", "opening", "quantization", "source")  # modules beside this one
_SAMPLES, _SAMPLE_BYTES = 16, 4096
_WHOLE_BYTES = 1 << 20  # files up to this size are hashed
_TICK_NS, _COARSE_NS = (
    50_000_000,
    2_000_000_000,
)  # how far a clock of file times may lag, where it is fine and where it is not


def image_key(source: Source, options: Options, graph: Graph) -> str:
    """Hex key: of files, their reading, formats, layout and the code that packs.

    Raises ResourceError where the files are not those that were opened: then the key would be of other weights.
    """
    try:
        files = [[_identity(path) for path in part] for part in _parts(source)]
    except OSError:  # one is gone
        files = []
    if not files or not _is_unchanged(source):
        raise ResourceError("its files were changed while they were read")
    facts = {
        "code": _code_hash(),
        "graph": graph_hash(graph),
        "formats": formats_of(options),
        "config": source.config,
        "files": files,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def files_key(source: Source, *facts: str) -> str:
    """Hex key of a source's files, and of something more. Raises OSError where one is gone."""
    found = [*map(_identity, _files(source)), *facts]
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:32]


def is_settled(source: Source) -> bool:
    """Whether no file was changed so lately that a further change could carry the same time. Waits for that, 2 seconds at most."""
    until = time.monotonic_ns() + _COARSE_NS + _TICK_NS
    try:
        while not all(_is_settled(os.stat(path), time.time_ns()) for path in _files(source)):
            if time.monotonic_ns() > until:  # a time in the future
                return False
            time.sleep(0.01)
    except FileNotFoundError:
        return False
    return True


def _is_settled(found: os.stat_result, now_ns: int) -> bool:
    # The other time is whatever a program says; only Windows has none that the system sets.
    newest = max(found.st_mtime_ns, found.st_ctime_ns) if os.name == "nt" else found.st_ctime_ns
    coarse = newest % 1_000_000 == 0  # a file system that counts seconds
    return newest + (_COARSE_NS if coarse else _TICK_NS) < now_ns


def _is_unchanged(source: Source) -> bool:
    """Whether weights, adapters and settings beside them are the files that were there before they were opened."""
    own = [*source.mapped, *_settings(source.resolved.path)]
    adapters = ((each.states, [*each.adapter.files(), *_settings(each.adapter.path)]) for each in source.adapters)
    return all(are_same(states, paths) for states, paths in [(source.states, own), *adapters])


def _files(source: Source) -> Iterable[Path]:
    return (path for part in _parts(source) for path in part)


def _parts(source: Source) -> Iterator[Iterable[Path]]:
    """Everything that says what the weights are: the files of the model, then those of each adapter, which may come twice."""
    yield dict.fromkeys([*source.mapped, *source.files, *_settings(source.resolved.path)])
    for each in source.adapters:
        yield dict.fromkeys([*each.adapter.files(), *_settings(each.adapter.path)])


def _settings(folder: Path) -> list[Path]:
    """Not the reports of bundles that were written there (`verify`), which say nothing of the weights."""
    found = folder.glob("*.json") if folder.is_dir() else ()
    return sorted(path for path in found if not path.name.endswith(".report.json"))


def _identity(path: Path) -> list[int | str]:
    with path.open("rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        digest = hashlib.sha256()
        if found.st_size <= _WHOLE_BYTES:
            digest.update(file.read(_WHOLE_BYTES))
            return [path.name, digest.hexdigest()]
        for i in range(_SAMPLES):
            file.seek(i * (found.st_size - _SAMPLE_BYTES) // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return [
        path.name,
        digest.hexdigest(),
        found.st_size,
        found.st_ino,
        found.st_mtime_ns,
        found.st_ctime_ns,
    ]


@functools.cache
def _code_hash() -> str:
    digest = hashlib.sha256(sources_hash().encode())
    for path in sorted(code_files()):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def code_files() -> list[Path]:
    """The code that opens checkpoints, reads weights, merges adapters, names, lays out and packs: another may give other weights."""
    folders = [Path(str(module.__file__)).parent for module in (weights, models, compiler)]
    own = [Path(__file__).with_name(f"{name}.py") for name in _DECIDING]
    return [*own, Path(str(packing.__file__)), *(path for folder in folders for path in folder.rglob("*.py"))]
