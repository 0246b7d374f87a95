"""Checkpoints: a folder in the Hugging Face layout (one file or shards) or a llama2.c file.

Pickles are never opened: unpickling runs code of whoever wrote the file.
"""

import re
from pathlib import Path
from typing import Protocol

from llmos.core.errors import UserError
from llmos.weights.llama2c import Llama2cFile
from llmos.weights.older_names import OlderNames, has_older_names
from llmos.weights.pickles import pickle_refusal
from llmos.weights.quantized import QuantizedTensor
from llmos.weights.safetensors import SafetensorsFile
from llmos.weights.shards import index_names, join_files, open_index
from llmos.weights.tensor import Tensor

__all__ = ["Checkpoint", "holds_weights", "open_checkpoint"]

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
# Files of a variant as transformers names them: one file, an index, and an index as older versions did.
_VARIANTS = (
    re.compile(r"model\.([A-Za-z0-9_]+)\.safetensors"),
    re.compile(r"model\.safetensors\.index\.([A-Za-z0-9_]+)\.json"),
    re.compile(r"model\.([A-Za-z0-9_]+)\.safetensors\.index\.json"),
)
_MISTRAL = re.compile(r"consolidated([-.].*)?\.safetensors")
_ADAPTER = "adapter_model.safetensors"


class Checkpoint(Protocol):
    """Tensors by name. files: what it is made of; tensor: raises KeyError for an unknown name; release: give the pages of
    mapped files back to the system, which reads them again when they are asked for."""

    path: Path

    def files(self) -> list[Path]: ...

    def names(self) -> list[str]: ...

    def tensor(self, name: str) -> Tensor | QuantizedTensor: ...

    def release(self) -> None: ...


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
    found = _open_folder(path)
    return OlderNames(found) if has_older_names(found) else found


def holds_weights(folder: Path) -> bool:
    """Whether a folder has safetensors of a model, and not only those of an adapter."""
    return any(path.name != _ADAPTER for path in folder.glob("*.safetensors"))


def _open_folder(folder: Path) -> Checkpoint:
    """What the names in a folder say: the plain ones first, as in transformers, then a variant, then whatever fits together."""
    single, index = folder / _SINGLE, folder / _INDEX
    if single.exists():
        file = SafetensorsFile(single)
        _check_beside(file, index)
        return file
    if index.exists():
        return open_index(index)
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    variant = _variant(folder, names)
    if variant is not None:
        return open_index(variant) if variant.suffix == ".json" else SafetensorsFile(variant)
    return _open_loose(folder, names)


def _check_beside(file: SafetensorsFile, index: Path) -> None:
    """An index beside model.safetensors must be one of the same tensors."""
    if index.exists() and set(index_names(index)) != set(file.names()):
        raise UserError(
            f"{file.path.parent} holds two checkpoints, {_SINGLE} and the shards of {_INDEX}, with different tensors: remove one"
        )


def _variant(folder: Path, names: list[str]) -> Path | None:
    """The one variant (fp16, bf16, ...) of a folder without plain files. Raises UserError where there are several."""
    found: dict[str, str] = {}
    for name in names:
        for match in filter(None, (pattern.fullmatch(name) for pattern in _VARIANTS)):
            found.setdefault(match[1], name)
    if len(found) > 1:
        raise UserError(
            f"{folder} holds several variants ({', '.join(sorted(found))}) and no plain {_SINGLE}: leave one of them there, or "
            f"rename the wanted one to {_SINGLE}"
        )
    return folder / next(iter(found.values())) if found else None


def _open_loose(folder: Path, names: list[str]) -> Checkpoint:
    """Safetensors under other names: together they are the checkpoint, where that can be."""
    files = [name for name in names if name.endswith(".safetensors") and name != _ADAPTER]
    mistral = [name for name in files if _MISTRAL.fullmatch(name)]
    rest = [name for name in files if name not in mistral]
    if mistral and not rest:
        raise UserError(
            f"{folder} holds its weights as {mistral[0]} only, under the names of Mistral's own format; LLMOS reads those of "
            f"transformers ({_SINGLE} or {_INDEX}): download these files of the same model, or convert it with transformers"
        )
    if rest:
        return join_files(folder, [folder / name for name in rest])
    pickles = [name for name in names if Path(name).suffix in _PICKLES]
    if pickles:
        raise pickle_refusal(folder, pickles)
    raise UserError(f"{folder} holds no weights: {_SINGLE} or {_INDEX} is needed")
