"""A checkpoint with quantised layers under the names of one without: each layer's tensors together are its `weight`."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from llmos.core.errors import FormatError
from llmos.weights.checkpoint import Checkpoint
from llmos.weights.quantization import awq, compressed_tensors, gptq
from llmos.weights.quantization.matrix import Stored, as_tensor
from llmos.weights.quantized import QuantizedTensor
from llmos.weights.tensor import Tensor

__all__ = ["QuantizedCheckpoint", "open_quantized"]


class _Settings(Protocol):
    def stored(self, tensors: Mapping[str, Tensor], where: str) -> Stored: ...


_FLOATS = ("float32", "float16", "bfloat16")
_METHODS: dict[str, tuple[Callable[[Mapping[str, Any], str], _Settings], tuple[str, ...], tuple[str, ...]]] = {
    # method -> (reader of settings, suffixes of a layer's tensors, those that each layer has)
    "gptq": (gptq.read_gptq_settings, gptq.SUFFIXES, ("qweight", "qzeros", "scales")),
    "awq": (awq.read_awq_settings, awq.SUFFIXES, ("qweight", "scales")),
    "compressed-tensors": (compressed_tensors.read_compressed_settings, compressed_tensors.SUFFIXES, ("weight_scale",)),
}
# What a tensor of each suffix must be: its dtypes and number of axes (None: any).
_KINDS: dict[str, tuple[tuple[str, ...], int | None]] = {
    "qweight": (("int32",), 2),
    "qzeros": (("int32",), 2),
    "scales": (_FLOATS, 2),
    "g_idx": (("int32", "int64"), 1),
    "weight_packed": (("int32",), 2),
    "weight": (("int8",), 2),
    "weight_scale": (_FLOATS, None),
    "weight_zero_point": (("int8", "int32"), None),
    "weight_shape": (("int64", "int32"), 1),
    "weight_g_idx": (("int32", "int64"), 1),
}


_PLAIN_NAMES = {"bfloat16": "bf16"}  # as the formats of LLMOS are called


class QuantizedCheckpoint:
    """The tensors of a checkpoint by the names that they would have unquantised. Layers that are not quantised are as they are.

    spare: biases of zeros, which some writers give to every layer: they may be there without being asked for.
    """

    def __init__(self, base: Checkpoint, settings: _Settings, suffixes: tuple[str, ...], needed: tuple[str, ...]):
        self.path: Path = base.path
        self._base, self._settings = base, settings
        layers, hidden = _layers(base.names(), suffixes, needed)
        self._layers = {f"{layer}.weight": parts for layer, parts in layers.items()}
        self._names = [name for name in base.names() if name not in hidden]
        self._known = set(self._names)
        self._opened: dict[str, QuantizedTensor] = {}
        self.spare = tuple(name for name in (f"{layer}.bias" for layer in layers) if self._is_zero(name))

    def files(self) -> list[Path]:
        return self._base.files()

    def names(self) -> list[str]:
        return [*self._names, *self._layers]

    def types(self) -> dict[str, int]:
        """How layers and other matrices are stored (`gptq 4 bits`) -> number of them, the most first."""
        found = Counter(tensor.dtype for tensor in map(self.tensor, self.names()) if len(tensor.shape) > 1)
        return {_PLAIN_NAMES.get(dtype, dtype): n for dtype, n in found.most_common()}

    def tensor(self, name: str) -> Tensor | QuantizedTensor:
        if name not in self._layers:
            return self._base.tensor(name)
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name]

    def release(self) -> None:
        self._base.release()

    def _open(self, name: str) -> QuantizedTensor:
        where = f"{self.path}: layer {name.removesuffix('.weight')!r}"
        tensors = {suffix: self._plain(full) for suffix, full in self._layers[name].items()}
        for suffix, tensor in tensors.items():
            dtypes, axes = _KINDS[suffix]
            if tensor.dtype not in dtypes or (axes is not None and len(tensor.shape) != axes):
                raise FormatError(
                    where,
                    f"{suffix} is {tensor.dtype} {list(tensor.shape)}, not {' or '.join(dtypes)} of {axes or 'any'} axes",
                )
            if not math.prod(tensor.shape):
                raise FormatError(where, f"{suffix} is empty")
        return as_tensor(self._settings.stored(tensors, where))

    def _plain(self, name: str) -> Tensor:
        tensor = self._base.tensor(name)
        assert isinstance(tensor, Tensor), f"{tensor.where} is quantised twice"
        return tensor

    def _is_zero(self, name: str) -> bool:
        return name in self._known and not np.any(self._plain(name).data)


def open_quantized(checkpoint: Checkpoint, raw: Mapping[str, Any], where: str) -> QuantizedCheckpoint:
    """The checkpoint read as its quantization_config says. where: the file that this stands in.

    Raises FormatError for methods, fields and layers that are not understood.
    """
    name = raw.get("quant_method", "compressed-tensors" if "config_groups" in raw else None)
    if not isinstance(name, str) or name not in _METHODS:
        raise FormatError(
            where,
            f"quant_method {name!r} is not supported; understood: {', '.join(_METHODS)}. Take the model's own checkpoint, in bf16, "
            "float16 or float32, and let LLMOS quantise it (weights='int8' or 'int4')",
        )
    read, suffixes, needed = _METHODS[name]
    return QuantizedCheckpoint(checkpoint, read(raw, where), suffixes, needed)


def _layers(
    names: list[str], suffixes: tuple[str, ...], needed: tuple[str, ...]
) -> tuple[dict[str, dict[str, str]], set[str]]:
    """Layers that have all of the `needed` tensors: suffix -> name of each; and the names of all these tensors."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        layer, _, suffix = name.rpartition(".")
        if suffix in suffixes:
            found.setdefault(layer, {})[suffix] = name
    layers = {layer: parts for layer, parts in found.items() if parts.keys() >= set(needed)}
    return layers, {name for parts in layers.values() for name in parts.values()}
