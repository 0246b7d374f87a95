"""Checkpoints: a folder in the Hugging Face layout (one file or shards with an index) or a llama2.c file.

Pickles are never opened: unpickling runs code of whoever wrote the file.
"""

import json
from pathlib import Path
from typing import Protocol

from llmos.core.errors import FormatError, UserError
from llmos.weights.llama2c import Llama2cFile
from llmos.weights.pickles import pickle_refusal
from llmos.weights.safetensors import SafetensorsFile
from llmos.weights.tensor import Tensor

__all__ = ["Checkpoint", "open_checkpoint"]

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class Checkpoint(Protocol):
    """Tensors by name. files: what it is made of; tensor: raises KeyError for an unknown name."""

    path: Path

    def files(self) -> list[Path]: ...

    def names(self) -> list[str]: ...

    def tensor(self, name: str) -> Tensor: ...


class Shards:
    """The files of a sharded checkpoint as one."""

    def __init__(self, index: Path, where: dict[str, SafetensorsFile]):
        self.path, self._where = index, where

    def files(self) -> list[Path]:
        return [self.path, *sorted({shard.path for shard in self._where.values()})]

    def names(self) -> list[str]:
        return list(self._where)

    def tensor(self, name: str) -> Tensor:
        return self._where[name].tensor(name)


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at a path. Raises UserError where there is none or only pickles, FormatError for damaged files."""
    if path.is_file():
        if path.suffix == ".safetensors":
            return SafetensorsFile(path)
        if path.suffix in _PICKLES and path.suffix != ".bin":
            raise pickle_refusal(path, [path.name])
        return Llama2cFile(path)
    if not path.is_dir():
        raise UserError(f"there is no checkpoint at {path}")
    if (path / "model.safetensors").exists():
        return SafetensorsFile(path / "model.safetensors")
    if (path / "model.safetensors.index.json").exists():
        return _open_shards(path / "model.safetensors.index.json")
    pickles = sorted(p.name for p in path.iterdir() if p.suffix in _PICKLES)
    if pickles:
        raise pickle_refusal(path, pickles)
    raise UserError(f"{path} holds no weights: model.safetensors or model.safetensors.index.json is needed")


def _open_shards(index: Path) -> Shards:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(weight_map.values()))
    except OSError as error:
        raise UserError(f"cannot read {index}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(index, f"is no index of shards: {error!r}") from error
    for name in files:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise FormatError(index, f"names a shard {name!r} that is no safetensors file of the same folder")
    missing = [name for name in files if not (index.parent / name).exists()]
    if missing:
        raise UserError(f"{index.parent}: shards are missing: {', '.join(missing)}; download them again")
    shards = {name: SafetensorsFile(index.parent / name) for name in files}
    held = {name: set(shard.names()) for name, shard in shards.items()}
    for tensor, name in weight_map.items():
        if tensor not in held[name]:
            raise FormatError(index, f"tensor {tensor!r} is not in {name}, where the index puts it")
    return Shards(index, {tensor: shards[name] for tensor, name in weight_map.items()})
