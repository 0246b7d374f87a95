"""Joins weights and compiler: fills the packed weights of a graph from a checkpoint's parameters."""

from collections.abc import Callable, Mapping

import numpy as np

from llmos.compiler import Graph, Section, layout
from llmos.hardware import usable_cores
from llmos.models import Spec, inverse_frequencies
from llmos.weights import QuantizedTensor, Tensor, pack_into

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
    pack_rows: Callable[[np.ndarray, np.ndarray, str], bool] | None = None,
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
            n, k = section.shape[-2:]
            for matrix, parts in zip(_matrices(view, section), _parts(section), strict=True):
                rows, where = _row_reader(parameters, parts)
                pack_into(matrix, (n, k), rows, section.format, where, pack_rows, usable_cores())
        if progress:
            progress(section.offset + section.n_bytes, total)


def _matrices(view: np.ndarray, section: Section) -> np.ndarray:
    """The memory of each matrix of a section: one, or one for each expert."""
    return view.reshape(section.n_matrices, -1)


def _parts(section: Section) -> list[tuple[str, ...]]:
    """The parameters stacked in each matrix of a section."""
    each = len(section.parts) // section.n_matrices
    return [section.parts[i : i + each] for i in range(0, len(section.parts), each)]


def _row_reader(
    parameters: Mapping[str, Tensor | QuantizedTensor], parts: tuple[str, ...]
) -> tuple[Callable[[int, int], np.ndarray], Callable[[int], str]]:
    """Rows start .. stop of the stacked parts: bfloat16 bits where all parts are stored so, else float32; and whose a row is."""
    tensors = [parameters[name] for name in parts]
    starts = np.cumsum([0, *(tensor.shape[0] for tensor in tensors)])
    raw = all(tensor.dtype == "bfloat16" for tensor in tensors)

    def rows(start: int, stop: int) -> np.ndarray:
        pieces = []
        for tensor, first in zip(tensors, starts, strict=False):
            a, b = max(start - first, 0), min(stop - first, tensor.shape[0])
            if a < b:
                piece = tensor.rows(a, b)
                pieces.append(piece.data if raw and isinstance(piece, Tensor) else piece.float32())
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

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
