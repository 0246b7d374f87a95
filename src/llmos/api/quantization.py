"""The way from a folder's config to its checkpoint: what `quantization_config` says is taken out of the config and applied."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError
from llmos.core.files import read_file
from llmos.weights import Checkpoint, open_checkpoint
from llmos.weights.quantization import open_quantized

__all__ = ["open_weights", "split_config"]

_NAMES = ("quantization_config", "compression_config")
_BESIDE = {
    "quantize_config.json": "gptq",
    "quant_config.json": "awq",
}  # where older writers put it, and the method that this means


def split_config(config: Mapping[str, Any], where: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A config.json without, and what it says of, the storage of weights; None where they are stored plainly."""
    if config.get("quantization") is not None:
        raise FormatError(
            where, "the weights are quantised for MLX, which LLMOS does not read: take the model's own checkpoint"
        )
    given = [config[name] for name in _NAMES if config.get(name) is not None]
    if any(not isinstance(table, dict) for table in given) or len(given) > 1:
        raise FormatError(where, f"{' or '.join(_NAMES)} must be one table")
    return {name: value for name, value in config.items() if name not in _NAMES}, given[0] if given else None


def open_weights(folder: Path, stored: Mapping[str, Any] | None) -> Checkpoint:
    """A folder's checkpoint, its quantised layers under the names of plain ones. stored: the second value of `split_config`."""
    checkpoint = open_checkpoint(folder)
    if stored is not None:
        return open_quantized(checkpoint, stored, f"{folder / 'config.json'}: quantization_config")
    for name, method in _BESIDE.items():
        path = folder / name
        if path.exists() and any(tensor.endswith(".qweight") for tensor in checkpoint.names()):
            return open_quantized(checkpoint, _read(path) | {"quant_method": method}, str(path))
    return checkpoint


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(read_file(path).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(path, f"cannot be read as JSON: {error}") from error
    if not isinstance(raw, dict):
        raise FormatError(path, "is not a JSON object")
    return raw
