"""Which rows of a tensor are a parameter's, where one tensor holds several: known from the tables alone, without a file."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

__all__ = ["Stacks"]


class _Source(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def transpose(self) -> bool: ...

    @property
    def among(self) -> tuple[str, ...]: ...

    @property
    def groups(self) -> int: ...

    @property
    def skip(self) -> int: ...


class Stacks:
    """sources: where each parameter is; shapes: what it must be."""

    def __init__(self, sources: Mapping[str, _Source], shapes: Mapping[str, tuple[int, ...]]):
        self._sources, self._shapes = sources, shapes

    def whole(self, name: str) -> tuple[int, int]:
        """Rows and columns of the (turned) tensor that holds a matrix, alone or among others."""
        shape = self.expected(name)
        rows, columns = shape[::-1] if self._sources[name].transpose else shape
        return rows, columns

    def part(self, name: str, data: np.ndarray) -> np.ndarray:
        """Of something that has a row for each row of a parameter's (turned) tensor: the rows that are the parameter's."""
        source, rows = self._sources[name], self._shapes[name][0]
        if not source.among:
            return data[source.skip :]
        groups = source.groups
        start = sum(self._shapes[other][0] for other in self._before(name)) // groups
        of_groups = data.reshape(groups, -1, *data.shape[1:])[:, start : start + rows // groups]
        return of_groups[0] if groups == 1 else of_groups.reshape(rows, *data.shape[1:])

    def expected(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor, or of each of its tensors, as stored."""
        source, (rows, *columns) = self._sources[name], self._shapes[name]
        if "{r}" in source.name:
            return tuple(columns)
        if source.among:
            rows = sum(self._shapes[part][0] for part in self._stack(name))
        shape = (rows + source.skip, *columns)
        return shape[::-1] if source.transpose else shape

    def _before(self, name: str) -> list[str]:
        """The parameters that stand before this one in their tensor."""
        stack = self._stack(name)
        return stack[: stack.index(name)]

    def _stack(self, name: str) -> list[str]:
        """The parameters that share a tensor, in order: all of them matrices or all biases."""
        suffix = ".bias" if name.endswith(".bias") else ""
        base = name.removesuffix(suffix).rpartition(".")[0]
        return [f"{base}.{part}{suffix}" for part in self._sources[name].among]
