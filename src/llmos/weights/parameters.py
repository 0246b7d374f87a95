"""A checkpoint under our parameter names: stacked tensors sliced, transposed ones turned, everything accounted for."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

import numpy as np

from llmos.core.errors import FormatError
from llmos.weights.checkpoint import Checkpoint
from llmos.weights.precision import precision_of
from llmos.weights.quantized import QuantizedTensor
from llmos.weights.rope_rows import half_apart
from llmos.weights.selection import select_rows
from llmos.weights.stacks import Stacks
from llmos.weights.tensor import Tensor

__all__ = ["Parameters"]


_SHOWN = 10  # of what does not fit: the first say what is wrong


class _Source(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def transpose(self) -> bool: ...

    @property
    def among(self) -> tuple[str, ...]: ...

    @property
    def by_group(self) -> bool: ...

    @property
    def groups(self) -> int: ...

    @property
    def skip(self) -> int: ...

    @property
    def plus(self) -> float: ...

    @property
    def paired_heads(self) -> int: ...


class Parameters(Mapping[str, Tensor | QuantizedTensor]):
    """Our parameter name -> tensor, read when asked for.

    sources: where each parameter is; shapes: what it must be; prefixes: what may stand before every tensor name; unused:
    patterns of tensors that mean nothing; spare: names of those that may be asked for and need not; tied: the head is the
    embedding. A quantised matrix is (out, in) whatever the family stores. Raises one FormatError that lists missing, extra
    and misshapen tensors, ten at most.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        sources: Mapping[str, _Source],
        shapes: Mapping[str, tuple[int, ...]],
        *,
        prefixes: tuple[str, ...] = ("",),
        unused: tuple[str, ...] = (),
        spare: Collection[str] = (),
        tied: bool = False,
    ):
        self.checkpoint, self._sources, self._shapes = checkpoint, sources, shapes
        self.stacks = Stacks(sources, shapes)
        names = set(checkpoint.names())
        self._prefix = max(prefixes, key=lambda prefix: sum(prefix + s.name in names for s in sources.values()))
        self._check(names, unused, frozenset(spare), tied)
        stored = {name: checkpoint.tensor(self._tensor_names(name)[0]) for name in shapes}
        self.precision = precision_of(stored, checkpoint.path, shapes)

    def __getitem__(self, name: str) -> Tensor | QuantizedTensor:
        tensor, heads = self._selected(name), self._sources[name].paired_heads
        return half_apart(tensor, heads) if heads else tensor

    def _selected(self, name: str) -> Tensor | QuantizedTensor:
        """A parameter with its rows in the order of the file."""
        source = self._sources[name]
        stored = [self.checkpoint.tensor(tensor) for tensor in self._tensor_names(name)]
        if isinstance(stored[0], QuantizedTensor):
            return select_rows(stored[0], self.stacks.part(name, np.arange(stored[0].shape[0])))
        plain = [tensor.data for tensor in stored if isinstance(tensor, Tensor)]
        dtype, data = stored[0].dtype, plain[0] if len(plain) == 1 else np.stack(plain)
        data = self.stacks.part(name, data.T if source.transpose else data)
        if source.plus:
            dtype, data = "float32", Tensor(dtype, data).float32() + np.float32(source.plus)
        return Tensor(dtype, data, stored[0].where)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def _tensor_name(self, source: _Source) -> str:
        plain = source.name in ("lm_head.weight",)
        return source.name if plain else self._prefix + source.name

    def _tensor_names(self, name: str) -> list[str]:
        """The tensors that hold a parameter: one, or one for each of its rows."""
        tensor = self._tensor_name(self._sources[name])
        if "{r}" not in tensor:
            return [tensor]
        return [tensor.replace("{r}", str(row)) for row in range(self._shapes[name][0])]

    def _check(self, names: set[str], unused: tuple[str, ...], spare: frozenset[str], tied: bool) -> None:
        problems, used = [], set()
        for name in self._shapes:
            for tensor in self._tensor_names(name):
                used.add(tensor)
                if tensor not in names:
                    problems.append(f"missing {tensor}")
                    continue
                stored = self.checkpoint.tensor(tensor)
                turned = isinstance(stored, QuantizedTensor)
                shape, wanted = stored.shape, self.stacks.whole(name) if turned else self.stacks.expected(name)
                if shape != wanted:
                    problems.append(f"{tensor} has shape {list(shape)}, the config asks for {list(wanted)}")
        left = sorted(names - used - spare)
        extra = [name for name in left if not any(re.fullmatch(pattern, name) for pattern in unused)]
        if tied and "lm_head.weight" in extra:
            extra.remove("lm_head.weight")
            problems += self._untied(names)
        problems += [f"unexpected {name}" for name in extra]
        if problems:
            raise FormatError(self.checkpoint.path, "weights do not fit the config:" + _listed(dict.fromkeys(problems)))

    def _untied(self, names: set[str]) -> list[str]:
        embed = self._tensor_name(self._sources["embed"])
        if embed not in names:
            return []
        head, table = self.checkpoint.tensor("lm_head.weight"), self.checkpoint.tensor(embed)
        same = (
            isinstance(head, Tensor)
            and isinstance(table, Tensor)
            and head.dtype == table.dtype
            and np.array_equal(head.data, table.data)
        )
        return (
            []
            if same
            else ["lm_head.weight differs from the embedding although the config ties them (tie_word_embeddings)"]
        )


def _listed(problems: Collection[str]) -> str:
    """One in each line, the first of them where they are many."""
    shown, rest = list(problems)[:_SHOWN], len(problems) - _SHOWN
    return "".join(f"\n  {line}" for line in (*shown, *([f"and {rest} more"] if rest > 0 else [])))
