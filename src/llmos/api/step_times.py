"""Where the time of a step goes, measured: a second library of the graph notes it, and the first one says what noting costs.

Both run in turn on the same weights, pages and threads, so that what disturbs the machine disturbs both. Of the runs the
faster half counts, since what disturbs only adds, and of it the mean: parts of means add up, those of medians do not.
"""

import ctypes
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmos.runtime import Batch, NativeExecutor, Output, Program, SamplingParameters
from llmos.runtime.abi import PAGE_TOKENS, load_library

__all__ = ["OperationTimes", "measure_steps"]

_BUDGET_S = 1.5  # of a kind of step
_LEAST, _MOST = 4, 200  # pairs of runs, whatever they take


@dataclass(frozen=True, kw_only=True)
class OperationTimes:
    """parts: seconds of each node, then of drawing, then of waking the threads and waiting for their end. step_s: of a whole step of the code that notes nothing, Python's
    part included; noted_s: of the code that notes.
    """

    parts: tuple[float, ...]
    step_s: float
    noted_s: float


def measure_steps(
    program: Program, timed: Path, *, n_parts: int, threads: int, prompt: int, speaks: bool
) -> dict[str, OperationTimes]:
    """Times of the steps `prefill` (`prompt` tokens, one row of scores) and `decode` (one token after them).

    A model that does not speak gets `text`: `prompt` tokens whose hidden rows are all wanted. timed: the library that notes its
    times (`compile_code(timed=True)`). Raises ResourceError where there is no memory for it.
    """
    pages = -(-program.context // PAGE_TOKENS)
    executor = NativeExecutor(
        program, threads=threads, n_pages=2 * pages, max_tokens=prompt, max_outputs=1 if speaks else prompt
    )
    try:
        watch = _Watch(executor, program.library, timed, n_parts)
        batch = _prompt_batch(executor, prompt, pages)
        if executor.reads_sources:
            executor.encode(Batch(batch.token_ids, batch.positions, batch.sequence, [batch.sources[0][0]]))
        if not speaks:
            batch.outputs, batch.want_hidden = [Output(row=i) for i in range(prompt)], True
            return {"text": watch.pairs(batch)}
        batch.outputs = [Output(row=prompt - 1, sampling=SamplingParameters())]
        prefill = watch.pairs(batch)
        one = Batch([1 % program.vocab], [prompt], [0], batch.block_table, batch.sources)
        one.outputs = [Output(row=0, sampling=SamplingParameters())]
        return {"decode": watch.pairs(one), "prefill": prefill}
    finally:
        executor.close()


def _prompt_batch(executor: NativeExecutor, prompt: int, pages: int) -> Batch:
    """Ids spread over the vocabulary, so that the rows of the embedding table come from memory."""
    ids = [i * 7919 % executor.vocab for i in range(prompt)]
    sources = [(list(range(pages, 2 * pages)), prompt)] if executor.reads_sources else []
    return Batch(ids, list(range(prompt)), [0] * prompt, [list(range(pages))], sources)


class _Watch:
    """Runs steps by two libraries in turn. The pool stays with the first: both know its threads by the same code."""

    def __init__(self, executor: NativeExecutor, plain: Path, timed: Path, n_parts: int):
        self.executor = executor
        self.plain, self.timed = load_library(str(plain)), load_library(str(timed))
        self.parts = np.zeros(n_parts, np.uint64)

    def pairs(self, batch: Batch) -> OperationTimes:
        """Runs until the budget is spent, after one of each that warms caches."""
        self._run(batch, self.plain)
        self._run(batch, self.timed)
        self._take()
        ended = time.perf_counter() + _BUDGET_S
        seconds: list[tuple[float, float]] = []
        parts: list[np.ndarray] = []
        while len(parts) < _LEAST or (time.perf_counter() < ended and len(parts) < _MOST):
            seconds.append((self._run(batch, self.plain), self._run(batch, self.timed)))
            parts.append(self._take())
        plain, noted = np.array(seconds).T
        kept = _faster(noted)
        return OperationTimes(
            parts=tuple(np.array(parts)[kept].mean(axis=0).tolist()),
            step_s=float(plain[_faster(plain)].mean()),
            noted_s=float(noted[kept].mean()),
        )

    def _run(self, batch: Batch, library: ctypes.CDLL) -> float:
        """Seconds of a step by a library."""
        self.executor.run_by(library)
        began = time.perf_counter()
        self.executor.step(batch)
        return time.perf_counter() - began

    def _take(self) -> np.ndarray:
        """Seconds that were noted since they were last taken."""
        self.timed.llmos_take_times(ctypes.c_void_p(self.parts.ctypes.data))
        return self.parts / 1e9


def _faster(seconds: np.ndarray) -> np.ndarray:
    """Places of the faster half."""
    return np.argsort(seconds)[: (len(seconds) + 1) // 2]
