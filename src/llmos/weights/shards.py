"""Several safetensors files as one checkpoint: named by an index, or lying side by side without one."""

import json
import re
from pathlib import Path

from llmos.core.errors import FormatError, UserError
from llmos.core.files import read_file
from llmos.weights.safetensors import SafetensorsFile
from llmos.weights.tensor import Tensor

__all__ = ["Shards", "index_names", "join_files", "open_index"]

_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors")


class Shards:
    """The files of a sharded checkpoint as one. path: the index, or the folder where there is none."""

    def __init__(self, path: Path, where: dict[str, SafetensorsFile]):
        self.path, self._where = path, where

    def files(self) -> list[Path]:
        index = [self.path] if self.path.is_file() else []
        return [*index, *sorted({shard.path for shard in self._where.values()})]

    def names(self) -> list[str]:
        return list(self._where)

    def tensor(self, name: str) -> Tensor:
        return self._where[name].tensor(name)

    def release(self) -> None:
        for shard in set(self._where.values()):
            shard.release()


def index_names(index: Path) -> dict[str, str]:
    """Tensor name -> file name, as an index has it. Raises FormatError for anything but files of the same folder."""
    try:
        weight_map = json.loads(read_file(index).decode())["weight_map"]
        files = sorted(set(weight_map.values()))
    except OSError as error:
        raise UserError(f"cannot read {index}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(index, f"is no index of shards: {error!r}") from error
    for name in files:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise FormatError(index, f"names a shard {name!r} that is no safetensors file of the same folder")
    return weight_map


def open_index(index: Path) -> Shards:
    """The shards of an index, all there and each holding what the index says."""
    weight_map = index_names(index)
    files = sorted(set(weight_map.values()))
    missing = [name for name in files if not (index.parent / name).exists()]
    if missing:
        raise UserError(f"{index.parent}: shards are missing: {', '.join(missing)}; download them again")
    shards = {name: SafetensorsFile(index.parent / name) for name in files}
    held = {name: set(shard.names()) for name, shard in shards.items()}
    for tensor, name in weight_map.items():
        if tensor not in held[name]:
            raise FormatError(index, f"tensor {tensor!r} is not in {name}, where the index puts it")
    return Shards(index, {tensor: shards[name] for tensor, name in weight_map.items()})


def join_files(folder: Path, files: list[Path]) -> Shards:
    """Files without an index, which is possible where none is missing and no tensor is in two of them."""
    _check_numbers(folder, {path.name for path in files})
    where: dict[str, SafetensorsFile] = {}
    for file in map(SafetensorsFile, files):
        twice = sorted(where.keys() & set(file.names()))
        if twice:
            first = where[twice[0]].path.name
            raise UserError(
                f"{folder} has no index, and tensor {twice[0]!r} is both in {first} and in {file.path.name}: they belong to two "
                "checkpoints; leave the files of one in the folder"
            )
        where |= dict.fromkeys(file.names(), file)
    return Shards(folder, where)


def _check_numbers(folder: Path, names: set[str]) -> None:
    """Of files numbered `-00001-of-00003` each must be there."""
    missing: set[str] = set()
    for match in filter(None, map(_NUMBERED.fullmatch, names)):
        stem, count = match[1], int(match[3])
        wanted = {f"{stem}-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)}
        missing |= wanted - names
    if missing:
        shown = ", ".join(sorted(missing)[:5])
        raise UserError(f"{folder}: {len(missing)} shards are missing: {shown}; download them again")
