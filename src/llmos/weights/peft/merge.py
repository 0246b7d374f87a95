"""A model's parameters with adapters merged in: W + scale * B A in float32, rows when they are asked for, rounded once by who packs.

Reference: peft 0.21, `tuners/lora/layer.py` (merge) and `tuners/lora/dora.py`. Adapters are merged in their order.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from llmos.core.errors import FormatError, UserError
from llmos.weights.checkpoint import Checkpoint
from llmos.weights.parameters import Parameters
from llmos.weights.peft.adapter import Adapter, Delta
from llmos.weights.precision import Precision
from llmos.weights.quantized import QuantizedTensor
from llmos.weights.stacks import Stacks
from llmos.weights.tensor import Tensor

__all__ = ["AdaptedParameters", "Overlay", "bare_name", "unties"]

_CODES = {"int8", "int4", "uint4"}


class _Source(Protocol):
    @property
    def name(self) -> str: ...


def bare_name(name: str, prefixes: Sequence[str]) -> str:
    """A tensor's or module's name without what may stand before all names of its family."""
    for prefix in sorted(prefixes, key=len, reverse=True):
        if prefix and name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def unties(adapter: Adapter, embed: str, head: str, prefixes: Sequence[str]) -> bool:
    """Whether an adapter makes two of a table that is embedding and head at once. embed, head: bare names of the tensors."""
    saved = adapter.config.modules_to_save or ()
    modules = {bare_name(module, prefixes) for module in adapter.deltas}
    modules |= {
        bare_name(name, prefixes).removesuffix(".weight") for name in adapter.replaced if _is_saved(name, saved)
    }
    return not modules.isdisjoint({embed.removesuffix(".weight"), head.removesuffix(".weight")})


def _is_saved(name: str, saved: Sequence[str]) -> bool:
    return any(f".{module}." in f".{name}" for module in saved)


class Overlay:
    """A checkpoint of which an adapter replaces tensors (modules_to_save, biases, a table of embeddings).

    twin: (new name, name): a further tensor, equal to one of the checkpoint's: the head of a model whose table is to be two.
    """

    def __init__(
        self,
        base: Checkpoint,
        adapter: Adapter,
        prefixes: Sequence[str],
        twin: tuple[str, str] | None = None,
    ):
        self.path: Path = base.path
        self._base, self._tensors = base, dict[str, Tensor | QuantizedTensor]()
        by_bare = {bare_name(name, prefixes): name for name in base.names()}
        if twin is not None and twin[0] not in by_bare:
            by_bare[twin[0]] = twin[0]
            self._tensors[twin[0]] = base.tensor(by_bare[twin[1]])
        unknown = sorted(name for name in adapter.replaced if bare_name(name, prefixes) not in by_bare)
        if unknown:
            raise UserError(
                f"{adapter.path} replaces {', '.join(unknown)}, which {base.path} does not have: another base model?"
            )
        for name, tensor in adapter.replaced.items():
            actual = by_bare[bare_name(name, prefixes)]
            self._check_shape(adapter, actual, tensor.shape)
            self._tensors[actual] = tensor

    def files(self) -> list[Path]:
        return self._base.files()

    def names(self) -> list[str]:
        return list(dict.fromkeys([*self._base.names(), *self._tensors]))

    def tensor(self, name: str):
        return self._tensors[name] if name in self._tensors else self._base.tensor(name)

    def release(self) -> None:
        self._base.release()

    def _check_shape(self, adapter: Adapter, name: str, shape: tuple[int, ...]) -> None:
        was = self.tensor(name).shape
        if was == shape:
            return
        hint = ""
        if len(was) == len(shape) == 2 and was[1] == shape[1]:
            hint = ": the adapter's vocabulary is another; in transformers, resize_token_embeddings and save the base model first"
        raise FormatError(adapter.path, f"tensor {name!r} has shape {list(shape)}, the base model's {list(was)}{hint}")


class AdaptedParameters(Mapping[str, Tensor | QuantizedTensor]):
    """The parameters of a base model with the deltas of adapters added. precision: that of the base, float16 where that is codes.

    sources: where each parameter lies in checkpoints of the Hugging Face layout, which adapters are named by; prefixes: what may
    stand before all names; stacks: of these sources, where the base is stored in another layout. Raises UserError for adapters of another
    model, FormatError for those that lack weights.
    """

    def __init__(
        self,
        base: Parameters,
        adapters: Sequence[Adapter],
        sources: Mapping[str, _Source],
        prefixes: Sequence[str],
        stacks: Stacks | None = None,
    ):
        self._stacks = stacks or base.stacks
        self.precision, self.checkpoint = _precision(base), base.checkpoint
        self._base = base
        matrices = {name: bare_name(sources[name].name, prefixes) for name in base if len(base.shape(name)) == 2}
        self._deltas: dict[str, list[Delta]] = {}
        for adapter in adapters:
            self._add(adapter, matrices, prefixes)

    def __getitem__(self, name: str) -> Tensor | QuantizedTensor:
        tensor: Tensor | QuantizedTensor = self._base[name]
        for delta in self._deltas.get(name, ()):
            tensor = _merged(tensor, delta)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)

    def _add(self, adapter: Adapter, matrices: Mapping[str, str], prefixes: Sequence[str]) -> None:
        for name in adapter.replaced:  # what earlier adapters added was added to what is gone
            for mine, tensor in matrices.items():
                if tensor == bare_name(name, prefixes):
                    self._deltas.pop(mine, None)
        deltas = {f"{bare_name(module, prefixes)}.weight": (module, delta) for module, delta in adapter.deltas.items()}
        unknown = sorted(module for tensor, (module, _) in deltas.items() if tensor not in matrices.values())
        if unknown:
            raise UserError(
                f"{adapter.path} changes {', '.join(unknown[:3])}, which {self.checkpoint.path} does not have: another base model?"
            )
        for name, tensor in matrices.items():
            if tensor in deltas:
                module, delta = deltas[tensor]
                self._deltas.setdefault(name, []).append(self._part(adapter, name, module, delta))
            elif adapter.config.targets(f"{prefixes[0]}{tensor.removesuffix('.weight')}"):
                raise FormatError(
                    adapter.path, f"holds no weights for {tensor}, which target_modules names: cut off or damaged"
                )

    def _part(self, adapter: Adapter, name: str, module: str, delta: Delta) -> Delta:
        """What of a module's delta belongs to a parameter, which may be some of the module's rows."""
        rows, columns = self._stacks.whole(name)
        if (delta.left.shape[0], delta.right.shape[1]) != (rows, columns):
            raise FormatError(
                adapter.path,
                f"module {module!r} changes a matrix of {delta.left.shape[0]} x {delta.right.shape[1]}; in the base model it has "
                f"{rows} x {columns}: another base model, or another vocabulary",
            )
        left = Tensor(delta.left.dtype, self._stacks.part(name, delta.left.data), delta.left.where)
        magnitude = None if delta.magnitude is None else self._stacks.part(name, delta.magnitude)
        return Delta(left=left, right=delta.right, scale=delta.scale, magnitude=magnitude)


def _precision(base: Parameters) -> Precision:
    """A sum fits no grid of integers any more: it is not rounded to one unless someone asks for that."""
    was = base.precision
    stored = sorted({was.dtype, was.tables or was.dtype, *was.matrices.values()} & _CODES)
    if not stored:
        return was
    told = (
        f"the base model is stored as {', '.join(stored)}, which cannot hold it with an adapter merged: such weights become float16; "
        "weights='int4' or 'int8' rounds them"
    )
    dtype, tables = _of_sums(was.dtype), _of_sums(was.tables or was.dtype)
    matrices = {name: _of_sums(format) for name, format in was.matrices.items()}
    return Precision(
        dtype=dtype,
        tables=None if tables == dtype else tables,
        matrices={name: format for name, format in matrices.items() if format != dtype},
        notices=(told,),
    )


def _of_sums(format: str) -> str:
    return "float16" if format in _CODES else format


def _merged(base: Tensor | QuantizedTensor, delta: Delta) -> QuantizedTensor:
    """The sum as a matrix that no format holds exactly; rows of it are made when they are read."""
    (rows, columns), scale = base.shape, np.float32(delta.scale)

    def read(start: int, stop: int) -> np.ndarray:
        left = Tensor(delta.left.dtype, delta.left.data[start:stop]).float32()
        sums = base.rows(start, stop).float32() + scale * (left @ delta.right.float32())
        if delta.magnitude is not None:
            norms = np.linalg.norm(sums, axis=1)
            sums *= np.divide(delta.magnitude[start:stop], norms, out=np.zeros_like(norms), where=norms > 0)[:, None]
        return sums

    return QuantizedTensor(dtype="merged", shape=(rows, columns), where=base.where, read_float32=read)
