"""A checkpoint under our parameter names: stacked tensors sliced, transposed ones turned, everything accounted for."""

import re
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from llmos.core.errors import FormatError
from llmos.weights.checkpoint import Checkpoint
from llmos.weights.tensor import Tensor

__all__ = ["Parameters"]

_WIDTH = {"float32": 3, "bfloat16": 2, "float16": 1}


class _Source(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def transpose(self) -> bool: ...

    @property
    def among(self) -> tuple[str, ...]: ...


class Parameters(Mapping[str, Tensor]):
    """Our parameter name -> tensor, read when asked for.

    sources: where each parameter is; shapes: what it must be; prefixes: what may stand before every tensor name; unused:
    patterns of tensors that mean nothing; tied: the head is the embedding. Raises one FormatError that lists every missing,
    extra and misshapen tensor.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        sources: Mapping[str, _Source],
        shapes: Mapping[str, tuple[int, ...]],
        *,
        prefixes: tuple[str, ...] = ("",),
        unused: tuple[str, ...] = (),
        tied: bool = False,
    ):
        self.checkpoint, self._sources, self._shapes = checkpoint, sources, shapes
        names = set(checkpoint.names())
        self._prefix = max(prefixes, key=lambda prefix: sum(prefix + s.name in names for s in sources.values()))
        self._check(names, unused, tied)
        self.dtype = self._precision()

    def __getitem__(self, name: str) -> Tensor:
        source = self._sources[name]
        tensor = self.checkpoint.tensor(self._tensor_name(source))
        data = tensor.data.T if source.transpose else tensor.data
        start, stop = self._rows(name)
        return Tensor(tensor.dtype, data[start:stop], tensor.where)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def _tensor_name(self, source: _Source) -> str:
        plain = source.name in ("lm_head.weight",)
        return source.name if plain else self._prefix + source.name

    def _rows(self, name: str) -> tuple[int, int]:
        """Which rows of its (turned) tensor a parameter is."""
        among = self._sources[name].among
        rows = self._shapes[name][0]
        if not among:
            return 0, rows
        suffix = ".bias" if name.endswith(".bias") else ""
        base, _, mine = name.removesuffix(suffix).rpartition(".")
        before = among[: among.index(mine)]
        start = sum(self._shapes[f"{base}.{other}{suffix}"][0] for other in before)
        return start, start + rows

    def _expected(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor as stored."""
        source, shape = self._sources[name], self._shapes[name]
        if source.among:
            suffix = ".bias" if name.endswith(".bias") else ""
            base = name.removesuffix(suffix).rpartition(".")[0]
            shape = (sum(self._shapes[f"{base}.{part}{suffix}"][0] for part in source.among), *shape[1:])
        return shape[::-1] if source.transpose else shape

    def _check(self, names: set[str], unused: tuple[str, ...], tied: bool) -> None:
        problems, used = [], set()
        for name in self._shapes:
            tensor = self._tensor_name(self._sources[name])
            used.add(tensor)
            if tensor not in names:
                problems.append(f"missing {tensor}")
                continue
            shape, wanted = self.checkpoint.tensor(tensor).shape, self._expected(name)
            if shape != wanted:
                problems.append(f"{tensor} has shape {list(shape)}, the config asks for {list(wanted)}")
        extra = sorted(n for n in names - used if not any(re.fullmatch(pattern, n) for pattern in unused))
        if tied and "lm_head.weight" in extra:
            extra.remove("lm_head.weight")
            problems += self._untied(names)
        problems += [f"unexpected {name}" for name in extra]
        if problems:
            problems = list(dict.fromkeys(problems))
            raise FormatError(self.checkpoint.path, "weights do not fit the config: " + "; ".join(problems))

    def _untied(self, names: set[str]) -> list[str]:
        embed = self._tensor_name(self._sources["embed"])
        if embed not in names:
            return []
        head, table = self.checkpoint.tensor("lm_head.weight"), self.checkpoint.tensor(embed)
        same = head.dtype == table.dtype and np.array_equal(head.data, table.data)
        return (
            []
            if same
            else ["lm_head.weight differs from the embedding although the config ties them (tie_word_embeddings)"]
        )

    def _precision(self) -> str:
        kinds = {self.checkpoint.tensor(self._tensor_name(self._sources[n])).dtype for n in self._shapes}
        strange = kinds - _WIDTH.keys()
        if strange:
            raise FormatError(
                self.checkpoint.path,
                f"weights of type {', '.join(sorted(strange))} are not supported; known: {', '.join(_WIDTH)}",
            )
        matrices = {
            self.checkpoint.tensor(self._tensor_name(self._sources[n])).dtype
            for n, s in self._shapes.items()
            if len(s) == 2
        }
        return max(matrices, key=_WIDTH.__getitem__)
