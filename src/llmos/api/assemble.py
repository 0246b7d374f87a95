"""Joins weights and compiler: fills the packed weights of a graph from a checkpoint's parameters."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from llmos.artifact import ImageWriter
from llmos.compiler import Graph, Section, layout
from llmos.hardware import usable_cores
from llmos.models import Spec, inverse_frequencies
from llmos.weights import (
    BLOCK_ROWS,
    Groups,
    PackRows,
    Piece,
    QuantizedTensor,
    Rows,
    Tensor,
    packed_bytes,
    pieces,
    widened,
)

__all__ = ["fill_weights", "rope_bytes", "rope_tables", "weights_bytes", "write_weights"]

_RELEASED_AFTER = 8  # pieces of 4 million values: 64 MiB of bfloat16
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
    release: Callable[[], None] | None = None,
) -> None:
    """Pack every parameter to its place in `out` (weights_bytes long). progress: called with bytes done and bytes in all.

    pack_rows: the packer of compiled code (`runtime.native_packer`); without one numpy does it. release: called now and then to
    let go of what was read of mapped files. Raises UserError that names the tensor for values that a format cannot hold.
    """
    target = np.frombuffer(out, np.uint8)
    _run_pieces(
        _weight_pieces(graph, parameters, pack_rows),
        lambda piece: piece.pack(target[piece.at : piece.at + piece.n_bytes]),
        _after_each(progress, release, weights_bytes(graph)),
    )


def write_weights(
    graph: Graph,
    parameters: Mapping[str, Tensor | QuantizedTensor],
    writer: ImageWriter,
    progress: Callable[[int, int], None] | None = None,
    pack_rows: PackRows | None = None,
    release: Callable[[], None] | None = None,
) -> None:
    """As `fill_weights`, into a file, leaving out what it has already. It takes the memory of a few pieces for each thread."""

    def one(piece: Piece) -> None:
        if not writer.has(piece.at, piece.n_bytes):
            data = np.zeros(piece.n_bytes, np.uint8)
            piece.pack(data)
            writer.write(piece.at, data.data)

    _run_pieces(_weight_pieces(graph, parameters, pack_rows), one, _after_each(progress, release, weights_bytes(graph)))


def _weight_pieces(
    graph: Graph, parameters: Mapping[str, Tensor | QuantizedTensor], pack_rows: PackRows | None
) -> Iterator[Piece]:
    """The packed weights as pieces, by their places in the whole."""
    for section in layout(graph):
        if section.format == "plain":
            yield Piece(at=section.offset, n_bytes=section.n_bytes, pack=_plain(section, parameters))
            continue
        k, size = section.shape[-1], section.n_bytes // section.n_matrices
        for number, parts in enumerate(_parts(section)):
            for start, tensors in _runs([parameters[name] for name in parts]):
                rows, where = _row_reader(tensors, section.format)
                count = sum(tensor.shape[0] for tensor in tensors)
                place = section.offset + number * size + packed_bytes(start, k, section.format)
                for piece in pieces((count, k), rows, section.format, where, pack_rows):
                    yield replace(piece, at=place + piece.at)


def _run_pieces(pieces_: Iterable[Piece], work: Callable[[Piece], None], done: Callable[[Piece, int], None]) -> None:
    """work on every usable core, with few pieces begun at a time: what they read would lie in memory meanwhile.

    done: called here, with each piece in order and its number.
    """
    threads = usable_cores()
    begun: deque[tuple[Piece, Future[None]]] = deque()
    count = 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            for piece in pieces_:
                begun.append((piece, pool.submit(work, piece)))
                if len(begun) > 2 * threads:
                    count += 1
                    _finish(begun, done, count)
            while begun:
                count += 1
                _finish(begun, done, count)
        finally:
            for _, future in begun:
                future.cancel()


def _finish(begun: deque[tuple[Piece, Future[None]]], done: Callable[[Piece, int], None], count: int) -> None:
    piece, future = begun.popleft()
    future.result()
    done(piece, count)


def _after_each(
    progress: Callable[[int, int], None] | None, release: Callable[[], None] | None, total: int
) -> Callable[[Piece, int], None]:
    """What is done after a piece: tell how far it is, and let go of what was read after a few."""

    def done(piece: Piece, number: int) -> None:
        if progress:
            progress(piece.at + piece.n_bytes, total)
        if release is not None and number % _RELEASED_AFTER == 0:
            release()

    return done


def _plain(section: Section, parameters: Mapping[str, Tensor | QuantizedTensor]) -> Callable[[np.ndarray], None]:
    def pack(out: np.ndarray) -> None:
        values = np.concatenate([parameters[name].float32() for name in section.parts])
        out.view(np.float32)[:] = values.reshape(-1)

    return pack


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
