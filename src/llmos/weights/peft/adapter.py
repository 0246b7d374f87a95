"""The weights of an adapter, by the module of the base model that they belong to.

Reference: peft 0.21, `utils/save_and_load.py`. Of a linear layer, `lora_A` is (r, in) and `lora_B` (out, r); of an embedding,
`lora_embedding_A` is (r, rows) and `lora_embedding_B` (columns, r). Whatever else the file holds replaces tensors of the base.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from llmos.core.errors import FormatError, UserError
from llmos.weights.peft.config import AdapterConfig, read_adapter_config
from llmos.weights.pickles import pickle_refusal
from llmos.weights.safetensors import SafetensorsFile
from llmos.weights.tensor import Tensor

__all__ = ["Adapter", "Delta", "open_adapter"]

_PREFIX = "base_model.model."
_LORA = re.compile(r"(.*)\.(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector)(?:\.default)?(\.weight|\.bias)?")
_FLOATS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Delta:
    """What is added to a matrix (out, in): scale * left @ right. left: (out, r), right: (r, in), as stored.

    magnitude: (out,) float32, the norms that DoRA gives the rows of the sum; None without.
    """

    left: Tensor
    right: Tensor
    scale: float
    magnitude: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An opened adapter. deltas: by module, `replaced`: tensors by name; both named as in the base model."""

    path: Path
    config: AdapterConfig
    deltas: dict[str, Delta] = field(default_factory=dict)
    replaced: dict[str, Tensor] = field(default_factory=dict)

    def files(self) -> list[Path]:
        return [self.path / "adapter_config.json", self.path / "adapter_model.safetensors"]


def open_adapter(folder: Path) -> Adapter:
    """The adapter in a folder. Raises UserError where there is none, FormatError where weights and configuration disagree."""
    config = read_adapter_config(folder)
    path = folder / "adapter_model.safetensors"
    if not path.exists():
        pickled = folder / "adapter_model.bin"
        if pickled.exists():
            raise pickle_refusal(folder, [pickled.name])
        raise UserError(f"{folder} holds no weights of an adapter: there is no {path.name}")
    parts: dict[str, dict[str, Tensor]] = {}
    replaced: dict[str, Tensor] = {}
    file = SafetensorsFile(path)
    for name in file.names():
        tensor = _checked(file.tensor(name))
        found = _LORA.fullmatch(name)
        if found is None:
            replaced[_base_name(path, name)] = tensor
        elif found[3] == ".bias":
            raise FormatError(path, f"tensor {name!r}: a bias of an adapter's own (lora_bias) is not supported")
        else:
            parts.setdefault(_base_name(path, found[1]), {})[found[2]] = tensor
    deltas = {module: _delta(path, module, found, config) for module, found in parts.items()}
    if not deltas and not replaced:
        raise FormatError(path, "holds no tensors: the adapter was saved wrongly or cut off")
    return Adapter(path=folder, config=config, deltas=deltas, replaced=replaced)


def _base_name(path: Path, name: str) -> str:
    """A name of peft's as the base model has it: without the wrappers."""
    if not name.startswith(_PREFIX):
        raise FormatError(path, f"tensor {name!r} is none of an adapter's: its name does not begin with {_PREFIX}")
    return re.sub(r"\.(base_layer|modules_to_save(\.default)?)(?=\.|$)", "", name.removeprefix(_PREFIX))


def _checked(tensor: Tensor) -> Tensor:
    if tensor.dtype not in _FLOATS:
        raise UserError(f"{tensor.where} is {tensor.dtype}; an adapter's weights are one of {', '.join(_FLOATS)}")
    return tensor


def _delta(path: Path, module: str, parts: dict[str, Tensor], config: AdapterConfig) -> Delta:
    def bad(problem: str) -> FormatError:
        return FormatError(path, f"module {module!r}: {problem}")

    if config.targets(module) is False:
        raise bad("has weights, although target_modules and layers_to_transform leave it out")
    magnitude = parts.pop("lora_magnitude_vector", None)
    if config.use_dora != (magnitude is not None):
        raise bad(
            "use_dora and the weights disagree: lora_magnitude_vector "
            + ("is missing" if config.use_dora else "is there")
        )
    embedding = "lora_embedding_A" in parts
    kind = "lora_embedding_" if embedding else "lora_"
    if parts.keys() != {f"{kind}A", f"{kind}B"}:
        raise bad(f"holds {', '.join(sorted(parts))}; {kind}A and {kind}B are needed")
    if embedding and magnitude is not None:
        raise bad("DoRA of an embedding is not supported: merge it with peft into its base model")
    a, b, rank = parts[f"{kind}A"], parts[f"{kind}B"], config.rank(module)
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != rank or b.shape[1] != rank:
        raise bad(f"has matrices of {list(a.shape)} and {list(b.shape)}, which are not of rank {rank}")
    left, right = (_turned(a), _turned(b)) if embedding else (b, a)
    norms = None if magnitude is None else magnitude.float32().reshape(-1)
    if norms is not None and norms.size != left.shape[0]:
        raise bad(f"has {norms.size} magnitudes for {left.shape[0]} rows")
    return Delta(left=left, right=right, scale=config.scale(module), magnitude=norms)


def _turned(tensor: Tensor) -> Tensor:
    return Tensor(tensor.dtype, tensor.data.T, tensor.where)
