"""The seam between scheduling and computing. `NativeExecutor` runs compiled code; anything with the same `step` will do."""

import ctypes
import mmap
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from llmos.core.errors import LlmosError, ResourceError, UserError
from llmos.core.units import format_bytes
from llmos.hardware import anonymous_memory
from llmos.runtime import abi

__all__ = ["Batch", "Executor", "NativeExecutor", "Output", "Program", "Result", "SamplingParameters"]


@dataclass(frozen=True, kw_only=True)
class SamplingParameters:
    """How a token is drawn. Fields as in the step ABI; temperature 0 takes the largest score."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int = 0

    @property
    def needs_history(self) -> bool:
        return self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0


@dataclass
class Output:
    """A row whose scores are wanted. history: ids so far (int32), read where a penalty is on; score: id to score instead."""

    row: int
    sampling: SamplingParameters | None = None
    position: int = 0
    history: Sequence[int] = ()
    n_prompt: int = 0
    score: int | None = None


@dataclass
class Batch:
    """One step. Lists have an entry per token; block_table one row of page numbers per sequence.

    sources: for each sequence the pages that hold its encoded source, and the source's length; empty for models without an
    encoder.
    """

    token_ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    sequence: list[int] = field(default_factory=list)
    block_table: list[list[int]] = field(default_factory=list)
    sources: list[tuple[list[int], int]] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    n_top: int = 0
    want_logprobs: bool = False
    want_logits: bool = False
    want_hidden: bool = False


@dataclass
class Result:
    """Per output: drawn id, its log-probability, the log-probability of the id to score, the best alternatives, the scores,
    the row that the output head reads (float32, as wide as the model).

    An id or a score is None where the model's scores are no distribution (NaN, infinite): that row is lost, others are not. An
    id is None too in the rows `none_allowed`, whose mask, biases and penalties left none of a sound distribution. Alternatives
    are as many as wanted, or as the vocabulary has.
    """

    sampled: list[int | None]
    none_allowed: frozenset[int] = frozenset()
    logprobs: list[float] | None = None
    scores: list[float | None] | None = None
    top: list[list[tuple[int, float]]] | None = None
    logits: np.ndarray | None = None
    hidden: np.ndarray | None = None


class Executor(Protocol):
    """What the engine needs: limits, and one call. whole: a sequence must be in one step with all its tokens; reads_sources:
    it has an encoder, and every sequence a source, which `encode` must have read before."""

    vocab: int
    context: int
    n_pages: int
    max_tokens: int
    max_outputs: int
    whole: bool
    reads_sources: bool

    def step(self, batch: Batch) -> Result: ...

    def encode(self, batch: Batch) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Program:
    """A compiled model. rope: tables as in the step ABI; whole: see `Executor`.

    fill_weights writes `weights_bytes` packed bytes into a buffer; or map_weights, where there is one, gives them in memory that
    is read only. An executor calls it once, while it is made. A program lives as long as the model, so what fills should let go of
    its files then.
    """

    library: Path
    vocab: int
    width: int
    context: int
    weights_bytes: int
    fill_weights: Callable[[memoryview], None]
    rope: np.ndarray
    whole: bool = False
    map_weights: Callable[[], np.ndarray] | None = None


def arena(n_bytes: int, what: str) -> mmap.mmap:
    """Zeroed anonymous memory, in huge pages where the system grants them. Raises ResourceError where there is not enough."""
    try:
        return anonymous_memory(n_bytes)
    except (OSError, ValueError) as error:
        raise ResourceError(f"{format_bytes(n_bytes)} of memory for {what} cannot be had: {error}") from error


class NativeExecutor:
    """Runs a compiled model on the processor."""

    def __init__(self, program: Program, *, threads: int, n_pages: int, max_tokens: int = 256, max_outputs: int = 64):
        self.vocab, self.context, self.n_pages = program.vocab, program.context, n_pages
        self.max_tokens, self.max_outputs, self.threads = max_tokens, max_outputs, threads
        self.width, self.whole = program.width, program.whole
        self._library = abi.load_library(str(program.library))
        self.reads_sources = hasattr(self._library, "llmos_encode")
        assert self._library.llmos_abi_version() == abi.ABI_VERSION, f"{program.library} has another ABI version"
        assert self._library.llmos_weights_bytes() == program.weights_bytes, "code and weights do not belong together"
        self.page_bytes = self._library.llmos_page_bytes()
        workspace = self._library.llmos_workspace_bytes(max_tokens, max_outputs)
        self._arenas = [arena(n_pages * self.page_bytes, "keys and values"), arena(workspace, "the workspace")]
        self._weights = _weights(program)
        self._rope = np.ascontiguousarray(program.rope, np.float32)
        self._pool = self._library.llmos_pool_create(threads)
        if not self._pool:
            raise ResourceError(f"{threads} threads cannot be started: lower LLMOS_THREADS or threads=")
        self._owner = os.getpid()
        self._end_threads = weakref.finalize(self, _end_pool, self._library, self._pool, self._owner)
        self._end_threads.atexit = False  # another thread may be in a step then, and the process takes them along
        self._model = self._describe(program)
        self._buffers(max_pages=-(-program.context // abi.PAGE_TOKENS))

    def _describe(self, program: Program) -> abi.Model:
        kv, workspace = (abi.address(memory) for memory in self._arenas)
        return abi.Model(
            abi_version=abi.ABI_VERSION,
            struct_bytes=ctypes.sizeof(abi.Model),
            weights=self._weights.ctypes.data,
            weights_bytes=program.weights_bytes,
            kv=kv,
            n_pages=self.n_pages,
            context=program.context,
            rope=self._rope.ctypes.data,
            workspace=workspace,
            max_tokens=self.max_tokens,
            max_outputs=self.max_outputs,
            pool=self._pool,
        )

    def _buffers(self, max_pages: int) -> None:
        """Batch arrays that live as long as the executor, so that a step allocates nothing."""
        self._tokens = np.zeros((3, self.max_tokens), np.int32)
        self._table = np.zeros((self.max_tokens, max_pages), np.int32)
        self._rows = np.zeros(self.max_outputs, np.int32)
        self._sampled = np.zeros(self.max_outputs, np.int32)
        self._score_ids = np.zeros(self.max_outputs, np.int32)
        self._logprobs = np.zeros((2, self.max_outputs), np.float32)
        self._sampling = (abi.Sampling * self.max_outputs)()
        self._step = abi.Step(
            abi_version=abi.ABI_VERSION,
            struct_bytes=ctypes.sizeof(abi.Step),
            max_pages=max_pages,
            token_ids=self._tokens[0].ctypes.data,
            positions=self._tokens[1].ctypes.data,
            sequence=self._tokens[2].ctypes.data,
            block_table=self._table.ctypes.data,
            output_rows=self._rows.ctypes.data,
            sampling_bytes=ctypes.sizeof(abi.Sampling),
            sampled=self._sampled.ctypes.data,
        )
        if self.reads_sources:
            self._source_table = np.zeros((self.max_tokens, max_pages), np.int32)
            self._source_lengths = np.zeros(self.max_tokens, np.int32)
            self._sources = abi.Sources(
                struct_bytes=ctypes.sizeof(abi.Sources),
                max_pages=max_pages,
                block_table=self._source_table.ctypes.data,
                lengths=self._source_lengths.ctypes.data,
            )

    def step(self, batch: Batch) -> Result:
        """Run one batch. Raises LlmosError when the native code refuses it, which is a defect of the caller.

        Raises UserError in a process that was forked from the one that loaded the model: the threads stayed there.
        """
        outputs = batch.outputs
        self._set_tokens(batch)
        for row, (pages, length) in enumerate(batch.sources):
            self._source_table[row, : len(pages)], self._source_lengths[row] = pages, length
        keep = [self._set_output(i, output) for i, output in enumerate(outputs)]
        step = self._step
        step.n_outputs = len(outputs)
        step.sources = ctypes.pointer(self._sources) if batch.sources else None
        draws = any(output.sampling is not None for output in outputs)
        scores = any(output.score is not None for output in outputs)
        step.sampling = self._sampling if draws else None
        step.sampled_logprob = self._logprobs[0].ctypes.data if draws and batch.want_logprobs else None
        step.score_ids = self._score_ids.ctypes.data if scores else None
        step.score_logprobs = self._logprobs[1].ctypes.data if scores else None
        logits = np.empty((len(outputs), self.vocab), np.float32) if batch.want_logits else None
        step.logits = logits.ctypes.data if logits is not None else None
        hidden = np.empty((len(outputs), self.width), np.float32) if batch.want_hidden else None
        step.hidden = hidden.ctypes.data if hidden is not None else None
        top_ids, top_logprobs = self._set_top(batch)
        status = self._library.llmos_step(ctypes.byref(self._model), ctypes.byref(step))
        del keep
        _check_status(status)
        sampled = self._sampled[: len(outputs)].tolist() if draws else []
        return Result(
            sampled=[None if id < 0 else id for id in sampled],
            none_allowed=frozenset(i for i, id in enumerate(sampled) if id == abi.NONE_ALLOWED),
            logprobs=self._logprobs[0, : len(outputs)].tolist() if draws and batch.want_logprobs else None,
            scores=[None if x != x else x for x in self._logprobs[1, : len(outputs)].tolist()] if scores else None,
            top=_pairs(top_ids, top_logprobs) if batch.n_top else None,
            logits=logits,
            hidden=hidden,
        )

    def run_by(self, library: ctypes.CDLL) -> None:
        """Run the steps that follow by other code of the same graph, on the same weights, pages and threads."""
        same = library.llmos_weights_bytes() == self._library.llmos_weights_bytes()
        assert same and library.llmos_page_bytes() == self.page_bytes, "the other code is of another graph"
        self._library = library

    def encode(self, batch: Batch) -> None:
        """Read the sources of a batch, whole and one after another, into their pages. Raises as `step` does."""
        assert not batch.outputs, "a source has no scores"
        self._set_tokens(batch)
        step = self._step
        step.n_outputs, step.sources, step.sampling, step.score_ids, step.logits = 0, None, None, None, None
        step.n_top, step.hidden = 0, None
        _check_status(self._library.llmos_encode(ctypes.byref(self._model), ctypes.byref(step)))

    def _set_tokens(self, batch: Batch) -> None:
        """Fill the token arrays and the block table."""
        if not self._pool:
            raise UserError("the model is closed: load it again")
        if os.getpid() != self._owner:
            raise UserError("the model was loaded in another process: load it again there")
        n = len(batch.token_ids)
        assert n <= self.max_tokens and len(batch.outputs) <= self.max_outputs, "batch exceeds the workspace"
        self._tokens[0, :n], self._tokens[1, :n], self._tokens[2, :n] = batch.token_ids, batch.positions, batch.sequence
        for row, pages in enumerate(batch.block_table):
            self._table[row, : len(pages)] = pages
        self._step.n_tokens, self._step.n_sequences = n, len(batch.block_table)

    def _set_output(self, i: int, output: Output) -> tuple:
        """Fill row i of the output arrays. Returns what must outlive the call."""
        self._rows[i] = output.row
        self._score_ids[i] = -1 if output.score is None else output.score
        p = output.sampling or SamplingParameters()
        slot = self._sampling[i]
        slot.temperature, slot.top_p, slot.min_p, slot.top_k = p.temperature, p.top_p, p.min_p, p.top_k
        slot.repetition_penalty, slot.presence_penalty = p.repetition_penalty, p.presence_penalty
        slot.frequency_penalty, slot.seed, slot.counter = p.frequency_penalty, p.seed, output.position
        slot.n_history = slot.n_prompt = slot.n_bias = 0
        keep: tuple = ()
        if p.needs_history:
            history = np.array(output.history, np.int32)
            slot.history, slot.n_history, slot.n_prompt = history.ctypes.data, len(history), output.n_prompt
            keep = (history,)
        if p.logit_bias:
            ids = np.array([id for id, _ in p.logit_bias], np.int32)
            values = np.array([value for _, value in p.logit_bias], np.float32)
            slot.bias_ids, slot.bias_values, slot.n_bias = ids.ctypes.data, values.ctypes.data, len(ids)
            keep += (ids, values)
        return keep

    def _set_top(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        ids = np.zeros((len(batch.outputs), batch.n_top), np.int32)
        logprobs = np.zeros((len(batch.outputs), batch.n_top), np.float32)
        self._step.n_top = batch.n_top
        self._step.top_ids, self._step.top_logprobs = ids.ctypes.data, logprobs.ctypes.data
        return ids, logprobs

    def close(self) -> None:
        """Stop the threads and give the memory back. Calling it again does nothing."""
        if self._pool:
            self._pool = None
            self._end_threads()
            self._arenas.clear()
            self._weights = np.zeros(0, np.uint8)


def _weights(program: Program) -> np.ndarray:
    """The packed weights, in memory of their own or mapped."""
    if program.map_weights is not None:
        weights = program.map_weights()
        assert weights.nbytes == program.weights_bytes and weights.ctypes.data % 64 == 0, (
            "mapped as the code reads them"
        )
        return weights
    memory = arena(program.weights_bytes, "weights")
    program.fill_weights(memoryview(memory)[: program.weights_bytes])
    return np.frombuffer(memory, np.uint8, program.weights_bytes)


def _check_status(status: int) -> None:
    if status:
        raise LlmosError(f"the step was refused (status {status}): {abi.STATUS.get(status, 'unknown')}")


def _end_pool(library: ctypes.CDLL, pool: int, owner: int) -> None:
    """Stop the threads of a pool; in a forked child there are none, and waiting for them would never end."""
    if os.getpid() == owner:
        library.llmos_pool_destroy(pool)


def _pairs(ids: np.ndarray, logprobs: np.ndarray) -> list[list[tuple[int, float]]]:
    rows = zip(ids.tolist(), logprobs.tolist(), strict=True)
    return [[pair for pair in zip(*row, strict=True) if pair[0] != abi.NO_TOKEN] for row in rows]
