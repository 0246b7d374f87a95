"""What the kernels make of this machine, measured now: a compiled model that computes nothing, and kernels at a few sizes.

Medians, not the best: what is predicted will be disturbed as well. What waiting threads and Python cost is measured with the
engine and the executor that real models have.
"""

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from llmos.compiler import Target, cached_library, kernel_names, kv_page_bytes
from llmos.native import include_dir, sources_hash
from llmos.plan import PAGE_TOKENS, Kernels
from llmos.runtime import Engine, NativeExecutor, Program, Request
from llmos.runtime.abi import address, load_library
from llmos.runtime.executor import arena
from llmos.weights import packed_bytes

__all__ = ["build_kernels_probe", "measure_kernels"]

_SOURCE = include_dir().parent / "probe" / "kernels_probe.cc"
_ROWS, _COLUMNS, _WIDE, _VOCAB, _HEADS, _KV_HEADS = 1024, (256, 1024, 4096), 2048, 32768, 8, 2  # as the source has them
_CACHED_TOKENS, _MEMORY_TOKENS = (1, 2, 4, 8, 16, 64, 256), (1, 4, 8)
_SIZES = tuple(n * 2**20 for n in (8, 16, 24, 32, 48, 64, 96))  # of weights of which a share lies in a cache
_CACHED, _IN_MEMORY = 8 * 2**20, 160 * 2**20  # bytes of weights that lie in the last cache, and that do not
_KINDS = {"norm": 0, "act": 1, "quantize": 2}
_DRAW = 3
_FEW, _MANY = 2, 16  # pages of a context, which lie in a cache
_READ = 4 * 2**20  # bytes that a step of the model reads which computes nothing
_REPEATS = 5


def build_kernels_probe(target: Target, weights: str, kv: str) -> Path:
    """The compiled probe of two formats, from the cache where it is there already."""
    names = "".join(f"#define {name} {value}\n" for name, value in kernel_names(weights, kv).items())
    source = names + _SOURCE.read_text(encoding="utf-8")
    return cached_library(source, target, include=(include_dir(),), key=(sources_hash(),))


def measure_kernels(target: Target, *, weights: str, kv: str, threads: int, batch: int) -> Kernels:
    """Measures the kernels of two formats for `batch` sequences: about a second. Raises ResourceError where no compiler works."""
    path = build_kernels_probe(target, weights, kv)
    library = load_library(str(path))
    pool = ctypes.c_void_p(library.llmos_pool_create(threads))
    try:
        join_s = max(0.0, _joins_s(library, pool) - _joins_s(library, None))
        products = _Products(library, pool, weights, join_s)
        cached = {(k, t): products.cached_s(k, t) for k in _COLUMNS for t in _CACHED_TOKENS}
        memory, by_size = products.memory_s()
        kept = {size: _share(memory[1024, 1], cached[1024, 1], seconds) for size, seconds in by_size.items()}
        few, many = ({d: _page_s(library, None, 1, kv, d, n, 1) for d in (64, 128)} for n in (_FEW, _MANY))
        page_s = {d: max(many[d] / 10, (_MANY * many[d] - _FEW * few[d]) / (_MANY - _FEW)) for d in few}
        query_s = {d: max(0.0, _FEW * (few[d] - page_s[d])) for d in few}
        append = {d: _append_s(library, kv, d) for d in few}
        stored_s = (
            max(0.0, _page_s(library, pool, threads, kv, 64, 64, 64) - page_s[64] - query_s[64] / 64)
            * _HEADS
            / kv_page_bytes(_KV_HEADS, 64, kv)
        )
    finally:
        library.llmos_pool_destroy(pool)
    decode_s, prompt_s = _engine_s(path, threads, batch)
    return Kernels(
        weights=weights,
        kv=kv,
        threads=threads,
        batch=batch,
        cached=cached,
        memory=memory,
        kept=kept,
        page_s=page_s,
        query_s=query_s,
        append=append,
        stored_s=stored_s,
        row_s={kind: _row_s(library, number, _WIDE) for kind, number in _KINDS.items()}
        | {"draw": _row_s(library, _DRAW, _VOCAB)},
        join_s=join_s,
        decode_s=decode_s,
        prompt_s=prompt_s,
    )


def _joins_s(library: ctypes.CDLL, pool: ctypes.c_void_p | None) -> float:
    """Seconds of an operation that gives each thread a fraction of a microsecond to do."""
    return _median_s(lambda: library.llmos_probe_joins(pool, 200)) / 200


class _Products:
    """Products with matrices of one format, with weights and inputs of zeros."""

    def __init__(self, library: ctypes.CDLL, pool: ctypes.c_void_p, format: str, join_s: float):
        self.run, self.pool, self.format, self.join_s = library.llmos_probe_products, pool, format, join_s
        self.x, self.y = np.zeros(256 * max(_COLUMNS), np.float32), np.zeros(256 * _ROWS, np.float32)

    def cached_s(self, columns: int, tokens: int) -> float:
        """Seconds for a packed byte of matrices that were read just before."""
        n_bytes = packed_bytes(_ROWS, columns, self.format)
        n = max(1, _CACHED // n_bytes) if tokens <= 16 else 1
        w = np.zeros(n * n_bytes, np.uint8)
        return self._seconds(columns, tokens, max(1, 16 // tokens), n, w.ctypes.data)

    def memory_s(self) -> tuple[dict[tuple[int, int], float], dict[int, float]]:
        """Seconds for a packed byte that comes from memory: (columns, tokens) -> seconds; size of all weights -> seconds, for one token."""
        with arena(_IN_MEMORY, "the probe of kernels") as memory:
            w = address(memory)
            ctypes.memset(w, 0, _IN_MEMORY)
            each = {columns: packed_bytes(_ROWS, columns, self.format) for columns in _COLUMNS}
            memory_s = {
                (k, t): self._seconds(k, t, 1, _IN_MEMORY // each[k], w) for k in _COLUMNS for t in _MEMORY_TOKENS
            }
            return memory_s, {size: self._seconds(1024, 1, 3, max(1, size // each[1024]), w) for size in _SIZES}

    def _seconds(self, columns: int, tokens: int, rounds: int, n: int, w: int) -> float:
        n_bytes = packed_bytes(_ROWS, columns, self.format)
        counts = [ctypes.c_int32(i) for i in (columns, tokens, rounds, n)]
        where = [ctypes.c_void_p(at) for at in (w, self.x.ctypes.data, self.y.ctypes.data)]
        seconds = _median_s(lambda: self.run(self.pool, *counts, ctypes.c_int64(n_bytes), *where))
        return max(seconds / (rounds * n) - self.join_s, seconds / (rounds * n) / 10) / n_bytes


def _share(memory_s: float, cached_s: float, seconds: float) -> float:
    """Share of what is read again and again that a cache keeps, from the times of a byte in memory, in the cache and found."""
    return min(1.0, max(0.0, (memory_s - seconds) / (memory_s - cached_s))) if memory_s > cached_s else 1.0


def _page_s(
    library: ctypes.CDLL, pool: ctypes.c_void_p | None, threads: int, kv: str, head_dim: int, pages: int, layers: int
) -> float:
    """Seconds of one thread for a query head and a page. One layer's pages lie in a cache, those of 64 layers do not."""
    heads = (_HEADS + 2 * _KV_HEADS) * head_dim
    with arena(layers * pages * kv_page_bytes(_KV_HEADS, head_dim, kv), "the probe of kernels") as memory:
        ctypes.memset(address(memory), 0, len(memory))
        rows, out = (np.zeros(heads + 16, np.float32) for _ in range(2))
        where = [ctypes.c_void_p(at) for at in (address(memory), rows.ctypes.data, out.ctypes.data)]
        seconds = _median_s(lambda: library.llmos_probe_attention(pool, head_dim, 1, pages, layers, *where))
    return min(_KV_HEADS, threads) * seconds / (_HEADS * pages * layers)


def _append_s(library: ctypes.CDLL, kv: str, head_dim: int) -> float:
    """Seconds of one thread for a key/value head of a token and the queries that share it: turned, keys and values stored."""
    heads, rounds = (_HEADS + 2 * _KV_HEADS) * head_dim, 50
    with arena(kv_page_bytes(_KV_HEADS, head_dim, kv), "the probe of kernels") as memory:
        rows, rope = np.zeros(heads + 16, np.float32), np.zeros(PAGE_TOKENS * head_dim, np.float32)
        where = [ctypes.c_void_p(at) for at in (address(memory), rows.ctypes.data, rope.ctypes.data)]
        return _median_s(lambda: library.llmos_probe_append(head_dim, rounds, *where)) / (rounds * _KV_HEADS)


def _row_s(library: ctypes.CDLL, kind: int, width: int) -> float:
    """Seconds of one thread for a value of a row."""
    x, y = (np.ones(2 * _VOCAB, np.float32) for _ in range(2))
    where = [ctypes.c_void_p(at.ctypes.data) for at in (x, y)]
    return _median_s(lambda: library.llmos_probe_rows(None, kind, 50, 1, *where)) / 50 / width


def _engine_s(path: Path, threads: int, batch: int) -> tuple[float, float]:
    """Seconds of a step of a model that computes nothing: with `batch` sequences that decode, and with 256 tokens of a prompt."""
    context, steps = 1024, 24
    n_pages = (batch + 4) * context // PAGE_TOKENS
    program = Program(
        library=path,
        vocab=_VOCAB,
        width=16,
        context=context,
        weights_bytes=_READ,
        fill_weights=lambda out: out.__setitem__(slice(None), bytes(len(out))),
        rope=np.zeros(16, np.float32),
    )
    engine = Engine(NativeExecutor(program, threads=threads, n_pages=n_pages))
    try:
        read_s = _read_s(path)
        for i in range(batch):
            engine.submit(Request(ids=(i % _VOCAB, 1), max_tokens=steps + 8))
        for _ in range(4 + batch // 64):
            engine.step()
        decode_s = median(_timed(engine.step) for _ in range(steps))
        while engine.step():
            pass
        engine.submit(Request(ids=tuple(range(4, 900)), max_tokens=1))
        prompt_s = median(_timed(engine.step) for _ in range(3))
    finally:
        engine.close()
    return max(decode_s - read_s, decode_s / 10), max(prompt_s - read_s, prompt_s / 10)


def _read_s(path: Path) -> float:
    """Seconds in which the model that computes nothing reads its weights."""
    read = load_library(str(path)).llmos_probe_read_weights
    with arena(_READ, "the probe of kernels") as memory:
        memory[:] = bytes(_READ)
        return _median_s(lambda: read(ctypes.c_void_p(address(memory))))


def _median_s(work: Callable[[], Any]) -> float:
    """Seconds of the median of several calls after a first one that warms caches."""
    work()
    return median(_timed(work) for _ in range(_REPEATS))


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
