"""Joins weights and compiler: fills the packed weights of a graph from a checkpoint's parameters."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from llmos.compiler import Graph, Section, layout
from llmos.hardware import usable_cores
from llmos.models import Spec, inverse_frequencies
from llmos.weights import BLOCK_ROWS, Groups, PackRows, QuantizedTensor, Rows, Tensor, pack_into, packed_bytes, widened

__all__ = ["fill_weights", "rope_bytes", "rope_tables", "weights_bytes"]

_POSITIONS = 1 << 14  # computed at once: what is in double stays small beside the tables


def weights_bytes(graph: Graph) -> int:
    """Size of the packed weights of a graph."""
    end = max(section.offset + section.n_bytes for section in layout(graph))
    return -(-end // 64) * 64


def fill_weights(
    graph: Graph,
    parameters: Mapping[str, Tensor | QuantizedTensor],
    out: memoryview,
    progress: Callable[[int, int], None] | None = None,
    pack_rows: PackRows | None = None,
) -> None:
    """Pack every parameter to its place in `out` (weights_bytes long). progress: called with bytes done and bytes in all.

    pack_rows: the packer of compiled code (`runtime.native_packer`); without one numpy does it. Raises UserError that names
    the tensor for values that a format cannot hold.
    """
    target = np.frombuffer(out, np.uint8)
    total = weights_bytes(graph)
    for section in layout(graph):
        view = target[section.offset : section.offset + section.n_bytes]
        if section.format == "plain":
            values = np.concatenate([parameters[name].float32() for name in section.parts])
            view.view(np.float32)[:] = values.reshape(-1)
        else:
            k = section.shape[-1]
            for matrix, parts in zip(_matrices(view, section), _parts(section), strict=True):
                for start, tensors in _runs([parameters[name] for name in parts]):
                    rows, where = _row_reader(tensors, section.format)
                    count = sum(tensor.shape[0] for tensor in tensors)
                    place = matrix[packed_bytes(start, k, section.format) :]
                    pack_into(place, (count, k), rows, section.format, where, pack_rows, usable_cores())
        if progress:
            progress(section.offset + section.n_bytes, total)


def _matrices(view: np.ndarray, section: Section) -> np.ndarray:
    """The memory of each matrix of a section: one, or one for each expert."""
    return view.reshape(section.n_matrices, -1)


def _parts(section: Section) -> list[tuple[str, ...]]:
    """The parameters stacked in each matrix of a section."""
    each = len(section.parts) // section.n_matrices
    return [section.parts[i : i + each] for i in range(0, len(section.parts), each)]


Stored = Tensor | QuantizedTensor


def _runs(tensors: Sequence[Stored]) -> Iterator[tuple[int, list[Stored]]]:
    """The stacked tensors in runs that begin with a block of rows, and where: each is packed from what it is stored as."""
    first = row = 0
    run: list[Stored] = []
    for tensor in tensors:
        if run and row % BLOCK_ROWS == 0:
            yield first, run
            first, run = row, []
        run.append(tensor)
        row += tensor.shape[0]
    yield first, run


def _row_reader(tensors: Sequence[Stored], format: str) -> tuple[Callable[[int, int], Rows], Callable[[int], str]]:
    """Rows start .. stop of the stacked tensors, and whose a row is.

    They come as groups where the format holds what all tensors keep, as stored where all are bfloat16 or all float16, else as float32.
    """
    tensors = [widened(tensor, format) if isinstance(tensor, QuantizedTensor) else tensor for tensor in tensors]
    starts = np.cumsum([0, *(tensor.shape[0] for tensor in tensors)])
    kept = all(isinstance(tensor, QuantizedTensor) and tensor.keeps == format for tensor in tensors)
    raw = {tensor.dtype for tensor in tensors} in ({"bfloat16"}, {"float16"})

    def pieces(start: int, stop: int) -> Iterator[Stored]:
        for tensor, first in zip(tensors, starts, strict=False):
            a, b = max(start - first, 0), min(stop - first, tensor.shape[0])
            if a < b:
                yield tensor.rows(a, b)

    def rows(start: int, stop: int) -> Rows:
        if kept:
            return Groups.stacked([p.groups() for p in pieces(start, stop) if isinstance(p, QuantizedTensor)])
        values = [p.data if raw and isinstance(p, Tensor) else p.float32() for p in pieces(start, stop)]
        return values[0] if len(values) == 1 else np.concatenate(values)

    def where(row: int) -> str:
        return tensors[int(np.searchsorted(starts, row, "right")) - 1].where

    return rows, where


def rope_bytes(spec: Spec, context: int) -> int:
    """Size of `rope_tables`."""
    return 4 * max(1, context * sum(rope.rotated or head_dim for rope, head_dim in spec.ropes))


def rope_tables(spec: Spec, context: int) -> np.ndarray:
    """cos [context][n/2], then sin [context][n/2], float32, of each distinct rope of the spec, one after another.

    n: the dimensions of a head that turn. Computed in double and rounded once. context also chooses among frequencies where
    the rope has several.
    """
    out = np.zeros(rope_bytes(spec, context) // 4, np.float32)
    start = 0
    for rope, head_dim in spec.ropes:
        frequencies = inverse_frequencies(rope, head_dim, context)
        stop = start + 2 * context * len(frequencies)
        cosines, sines = out[start:stop].reshape(2, context, len(frequencies))
        for first in range(0, context, _POSITIONS):
            here = slice(first, min(first + _POSITIONS, context))
            angles = np.outer(np.arange(here.start, here.stop), frequencies)
            cosines[here], sines[here] = np.cos(angles) * rope.magnitude, np.sin(angles) * rope.magnitude
        start = stop
    return out
