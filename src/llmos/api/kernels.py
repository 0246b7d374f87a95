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
from llmos.hardware import caches
from llmos.native import include_dir, sources_hash
from llmos.plan import PAGE_TOKENS, Kernels
from llmos.runtime import Engine, NativeExecutor, Program, Request
from llmos.runtime.abi import address, load_library
from llmos.runtime.executor import arena
from llmos.weights import packed_bytes

__all__ = ["build_kernels_probe", "measure_kernels"]

_SOURCE = include_dir().parent / "probe" / "kernels_probe.cc"
_ROWS, _COLUMNS, _WIDE, _VOCAB, _HEADS, _KV_HEADS = 1024, (1024, 4096), 2048, 32768, 8, 2  # as the source has them
_CACHED_TOKENS, _MEMORY_TOKENS = (1, 2, 4, 8, 16, 64, 256), (1, 2, 4, 8)
_CACHED, _IN_MEMORY = 8 * 2**20, 160 * 2**20  # bytes of weights that lie in the last cache, and that do not
_KINDS = {"norm": 0, "act": 1, "quantize": 2}
_DRAW = 3
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
        join_s = _median_s(lambda: library.llmos_probe_joins(pool, 200)) / 200
        products = _Products(library, pool, weights, join_s)
        cached = {(k, t): products.cached_s(k, t) for k in _COLUMNS for t in _CACHED_TOKENS}
        memory = products.memory_s(_MEMORY_TOKENS)
    finally:
        library.llmos_pool_destroy(pool)
    decode_s, prompt_s = _engine_s(path, threads, batch)
    return Kernels(
        weights=weights,
        kv=kv,
        threads=threads,
        batch=batch,
        cache_bytes=max((cache.size_bytes for cache in caches()), default=0),
        cached=cached,
        memory=memory,
        page_s={head_dim: _page_s(library, kv, head_dim) for head_dim in (64, 128)},
        row_s={kind: _row_s(library, number, _WIDE) for kind, number in _KINDS.items()}
        | {"draw": _row_s(library, _DRAW, _VOCAB)},
        join_s=join_s,
        decode_s=decode_s,
        prompt_s=prompt_s,
    )


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

    def memory_s(self, tokens: tuple[int, ...]) -> dict[int, float]:
        """For each number of tokens seconds for a packed byte that comes from memory."""
        columns = _COLUMNS[0]
        n = _IN_MEMORY // packed_bytes(_ROWS, columns, self.format)
        with arena(_IN_MEMORY, "the probe of kernels") as memory:
            ctypes.memset(address(memory), 0, _IN_MEMORY)
            return {t: self._seconds(columns, t, 1, n, address(memory)) for t in tokens}

    def _seconds(self, columns: int, tokens: int, rounds: int, n: int, w: int) -> float:
        n_bytes = packed_bytes(_ROWS, columns, self.format)
        counts = [ctypes.c_int32(i) for i in (columns, tokens, rounds, n)]
        where = [ctypes.c_void_p(at) for at in (w, self.x.ctypes.data, self.y.ctypes.data)]
        seconds = _median_s(lambda: self.run(self.pool, *counts, ctypes.c_int64(n_bytes), *where))
        return max(seconds / (rounds * n) - self.join_s, seconds / (rounds * n) / 10) / n_bytes


def _page_s(library: ctypes.CDLL, kv: str, head_dim: int) -> float:
    """Seconds of one thread for a query head and a page that lies in a cache."""
    tokens, pages = 4, 16
    stored = np.zeros(pages * kv_page_bytes(_KV_HEADS, head_dim, kv) + 64, np.uint8)
    rows, out = (np.zeros(tokens * (_HEADS + 2 * _KV_HEADS) * head_dim + 16, np.float32) for _ in range(2))
    start = stored.ctypes.data + -stored.ctypes.data % 64
    where = [ctypes.c_void_p(at) for at in (start, rows.ctypes.data, out.ctypes.data)]
    run = library.llmos_probe_attention
    return _median_s(lambda: run(None, head_dim, tokens, pages, *where)) / (tokens * _HEADS * pages)


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
        weights_bytes=64,
        fill_weights=lambda out: None,
        rope=np.zeros(16, np.float32),
    )
    engine = Engine(NativeExecutor(program, threads=threads, n_pages=n_pages))
    try:
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
    return decode_s, prompt_s


def _median_s(work: Callable[[], Any]) -> float:
    """Seconds of the median of several calls after a first one that warms caches."""
    work()
    return median(_timed(work) for _ in range(_REPEATS))


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
