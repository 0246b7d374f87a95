"""GGUF files, mapped into memory, as checkpoints: one file, or the parts that a large model was split into."""

import mmap
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmos.core.errors import FormatError, UserError
from llmos.core.files import open_regular
from llmos.weights.gguf.blocks import type_name
from llmos.weights.gguf.header import Entry, read_header
from llmos.weights.gguf.tensor import stored_tensor
from llmos.weights.mapping import map_file, release_pages
from llmos.weights.quantized import QuantizedTensor
from llmos.weights.tensor import Tensor

__all__ = ["GgufFile", "gguf_parts"]

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
_MOST_PARTS = 10_000
_MOST_NAMES = 1 << 20


def gguf_parts(path: Path) -> list[Path]:
    """The files that a model was split into, in order, from the name of one (`NAME-00001-of-00003.gguf`); else that one."""
    named = _PART.fullmatch(path.name)
    if named is None:
        return [path]
    stem, _, count = named.groups()
    return [path.with_name(f"{stem}-{i + 1:05}-of-{count}.gguf") for i in range(min(int(count), _MOST_PARTS))]


class GgufFile:
    """A GGUF model under its tensors' names.

    metadata: that of the (first) file. Of a tensor with three axes (the matrices of all experts) every part is a tensor too:
    `blk.0.ffn_up_exps.weight` is `blk.0.ffn_up_exps.{e}.weight`. Maps stay open as long as a tensor of them is in use.
    """

    def __init__(self, path: Path):
        self.path = path
        self._files = _missing_told(gguf_parts(path))
        self._tensors: dict[str, _Stored] = {}
        self._whole: set[str] = set()
        self._maps: list[mmap.mmap] = []
        self._types: Counter[str] = Counter()
        self.metadata: Mapping[str, Any] = {}
        for number, file in enumerate(self._files):
            self._add(file, number)
        self._check_parts()

    def files(self) -> list[Path]:
        return list(self._files)

    def names(self) -> list[str]:
        return list(self._tensors)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all tensors, by their names."""
        return {
            name: stored.entry.shape if stored.part is None else stored.entry.shape[1:]
            for name, stored in self._tensors.items()
        }

    def types(self) -> dict[str, int]:
        """Type as people write it (`Q4_K`) -> number of tensors."""
        return dict(self._types.most_common())

    def tensor(self, name: str) -> Tensor | QuantizedTensor:
        stored = self._tensors[name]
        entry, shape = stored.entry, stored.entry.shape
        data = stored.raw[entry.start : entry.start + entry.n_bytes]
        if stored.part is not None:
            data, shape = data.reshape(shape[0], -1)[stored.part], shape[1:]
        return stored_tensor(entry.type, data, shape, f"{stored.path}: tensor {name!r}")

    def release(self) -> None:
        for mapped in self._maps:
            release_pages(mapped)

    def _add(self, path: Path, number: int) -> None:
        raw = _mapped(path)
        self._maps.append(raw)
        header = read_header(raw, path)
        if number == 0:
            self.metadata = header.metadata
        elif header.metadata.get("split.no") != number:
            raise FormatError(path, f"says that it is part {header.metadata.get('split.no')!r}, not {number}")
        whole = np.frombuffer(raw, np.uint8)
        for entry in header.entries.values():
            if entry.name in self._whole:
                raise FormatError(path, f"tensor {entry.name!r} is in another part too")
            self._whole.add(entry.name)
            if len(self._tensors) + entry.n_parts > _MOST_NAMES:
                raise FormatError(path, f"holds more than {_MOST_NAMES} matrices, which no model has")
            self._types[type_name(entry.type)] += 1
            for name, part in _names(entry):
                if name in self._tensors:
                    raise FormatError(path, _same_name(name, entry, self._tensors[name].entry))
                self._tensors[name] = _Stored(raw=whole, entry=entry, part=part, path=path)

    def _check_parts(self) -> None:
        stated = self.metadata.get("split.count", 0) or 1
        if stated != len(self._files):
            first = self._files[0]
            raise FormatError(
                first,
                f"is one of {stated} parts, its name says {len(self._files)}: parts are named NAME-00001-of-{stated:05}.gguf"
                if type(stated) is int
                else f"split.count is {stated!r}, which is no number of parts",
            )
        total = self.metadata.get("split.tensors.count", self._types.total())
        if total != self._types.total():
            raise FormatError(self.path, f"the parts hold {self._types.total()} tensors, the first says {total!r}")


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """raw: the mapped file; part: which of the matrices in the entry, None for all of it."""

    raw: np.ndarray
    entry: Entry
    part: int | None
    path: Path


def _names(entry: Entry) -> list[tuple[str, int | None]]:
    """What a tensor is called: that of three axes by the numbers of its parts."""
    if len(entry.shape) != 3:
        return [(entry.name, None)]
    stem, dot, last = entry.name.rpartition(".")
    return [(f"{stem}.{part}{dot}{last}", part) for part in range(entry.n_parts)]


def _same_name(name: str, one: Entry, other: Entry) -> str:
    """What to say of two tensors, of which at least one is a stack that has a part of this name."""
    stack, alone = (one, other) if len(one.shape) == 3 else (other, one)
    return (
        f"tensors {stack.name!r} and {alone.name!r} hold the same matrix {name!r}, the one as a part of its {stack.n_parts}: "
        "experts are stacked or stored one by one, not both; convert the model again"
    )


def _missing_told(files: list[Path]) -> list[Path]:
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise UserError(f"{files[0].parent}: parts of the model are missing: {', '.join(missing[:5])}")
    return files


def _mapped(path: Path) -> mmap.mmap:
    try:
        with open_regular(path) as file:
            if path.stat().st_size < 24:
                raise FormatError(path, f"is no GGUF file: it has {path.stat().st_size} bytes, at least 24 are needed")
            return map_file(file)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
