"""Tensors under the names that the first BERT's converter gave them, by those of today, as transformers reads them.

Files on the Hub still carry them, that of `bert-base-uncased` among others.
"""

from pathlib import Path
from typing import Protocol

from llmos.weights.quantized import QuantizedTensor
from llmos.weights.tensor import Tensor

__all__ = ["OlderNames", "has_older_names"]

_TODAY = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


class _Checkpoint(Protocol):
    path: Path

    def files(self) -> list[Path]: ...

    def names(self) -> list[str]: ...

    def tensor(self, name: str) -> Tensor | QuantizedTensor: ...

    def release(self) -> None: ...


def has_older_names(checkpoint: _Checkpoint) -> bool:
    """Whether a checkpoint has such names and none that they would collide with."""
    names = set(checkpoint.names())
    older = {name for name in names if name.endswith(tuple(_TODAY))}
    return bool(older) and names.isdisjoint(map(_renamed, older))


class OlderNames:
    """A checkpoint by the names of today."""

    def __init__(self, checkpoint: _Checkpoint):
        self.path, self._checkpoint = checkpoint.path, checkpoint
        self._older = {_renamed(name): name for name in checkpoint.names()}

    def files(self) -> list[Path]:
        return self._checkpoint.files()

    def names(self) -> list[str]:
        return list(self._older)

    def tensor(self, name: str) -> Tensor | QuantizedTensor:
        return self._checkpoint.tensor(self._older[name])

    def release(self) -> None:
        self._checkpoint.release()


def _renamed(name: str) -> str:
    for older, today in _TODAY.items():
        if name.endswith(older):
            return name.removesuffix(older) + today
    return name
