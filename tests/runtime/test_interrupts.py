"""Ctrl-C at any point of a step: the engine is whole afterwards and nobody's bytes change."""

import contextlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from llmos import runtime
from llmos.runtime import Engine, NativeExecutor, Request, SamplingParameters
from llmos.runtime.drafting import Drafter
from tests.tiny_programs import random_program

pytestmark = pytest.mark.toolchain
IDS = tuple(np.random.default_rng(3).integers(0, 120, 100).tolist())
REQUESTS = [
    Request(ids=IDS[:40], max_tokens=9, sampling=SamplingParameters(temperature=0.9, seed=1), logprobs=True, n_top=2),
    Request(ids=IDS[:70], max_tokens=5, priority=1),
    Request(ids=IDS[:34], score=True),
    Request(ids=IDS[9:60], max_tokens=12, sampling=SamplingParameters(temperature=0.7, seed=2), stop_ids=(11, 12)),
]


@pytest.fixture(scope="module")
def executor():
    executor = NativeExecutor(random_program("int8", "int8"), threads=1, n_pages=5)
    yield executor
    executor.close()


class Interrupted:
    """An executor in which ctrl-C comes before or after the native call of one step."""

    def __init__(self, executor: NativeExecutor, before: int | None = None, after: int | None = None):
        self._executor, self._before, self._after, self._count = executor, before, after, 0

    def __getattr__(self, name):
        return getattr(self._executor, name)

    def step(self, batch):
        self._count += 1
        if self._count == self._before:
            raise KeyboardInterrupt
        result = self._executor.step(batch)
        if self._count == self._after:
            raise KeyboardInterrupt
        return result


def outcome(sequence) -> tuple:
    return sequence.generated, sequence.scores, sequence.logprobs, sequence.top, sequence.finish_reason


def speculating(executor) -> Engine:
    """With guesses wherever an id came before."""
    drafter = Drafter(3, measured=False)
    drafter.guess = lambda sequence: sequence.lookup.follow() or sequence.ids[-2:]
    return Engine(executor, chunk_tokens=32, drafter=drafter)


def run(engine: Engine) -> tuple[list[tuple], int]:
    """Outcomes of the requests, carried on after interrupts, and how many there were."""
    sequences, interrupts = [engine.submit(request) for request in REQUESTS], 0
    while engine.processes():
        try:
            engine.step()
        except KeyboardInterrupt:
            interrupts += 1
        engine.check()
    assert engine.pool.n_available == engine.pool.n_pages
    return [outcome(sequence) for sequence in sequences], interrupts


def test_an_interrupt_around_the_native_call_changes_nothing(executor):
    expected, _ = run(Engine(executor, chunk_tokens=32))
    for at in range(1, 12):
        for where in ("before", "after"):
            engine = Engine(Interrupted(executor, **{where: at}), chunk_tokens=32)
            assert run(engine) == (expected, 1)


class Tracer:
    """Raises KeyboardInterrupt at the n-th line that the runtime executes inside a step."""

    # They hold the lock; a signal is never handled between its taking and the block that gives it back.
    OUTSIDE = frozenset(
        method.__code__ for method in (Engine.step, Engine.cancel, Engine.check, Engine.processes, Engine.submit)
    )

    def __init__(self, n: int):
        self.left, self.folder = n, os.path.dirname(runtime.__file__)

    def __enter__(self):
        sys.settrace(self)
        return self

    def __exit__(self, *error):
        sys.settrace(None)

    def __call__(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(self.folder) or frame.f_code in self.OUTSIDE:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


def lines_of_a_run(engine: Engine) -> int:
    tracer = Tracer(10**9)
    with tracer:
        run(engine)
    return 10**9 - tracer.left


@pytest.mark.parametrize("made", [lambda executor: Engine(executor, chunk_tokens=32), speculating])
def test_an_interrupt_at_any_line_leaves_the_engine_whole(executor, made):
    expected, _ = run(Engine(executor, chunk_tokens=32))
    for n in range(1, lines_of_a_run(made(executor)), 53):  # coprime with the lines of a step: each is met in some step
        engine = made(executor)
        sequences = [engine.submit(request) for request in REQUESTS]
        with Tracer(n):
            try:
                while engine.step():
                    pass
            except KeyboardInterrupt:
                pass
        engine.check()
        for sequence in sequences:
            engine.wait(sequence)
        assert [outcome(sequence) for sequence in sequences] == expected, n
        engine.check()
        assert engine.pool.n_available == engine.pool.n_pages


def test_an_interrupt_while_cancelling_loses_no_page(executor):
    n, cancelled = 0, False
    while not cancelled:
        n += 1
        engine = Engine(executor)
        first, second = engine.submit(REQUESTS[0]), engine.submit(REQUESTS[1])
        engine.step()
        with Tracer(n):
            try:
                engine.cancel(first)
                cancelled = True
            except KeyboardInterrupt:
                pass
        engine.check()
        engine.cancel(first)
        assert first.state == "finished"
        engine.wait(second)
        engine.check()
        assert engine.pool.n_available == engine.pool.n_pages
    assert n > 3


def test_an_interrupt_while_submitting_leaves_no_sequence_that_nobody_holds(executor):
    n, submitted = 0, None
    while submitted is None:
        n += 1
        engine = Engine(executor)
        other = engine.submit(REQUESTS[1])
        engine.step()
        with Tracer(n), contextlib.suppress(KeyboardInterrupt):
            submitted = engine.submit(REQUESTS[0])
        if submitted is None:
            assert [process.id for process in engine.processes()] == [other.id], n
        engine.check()
        engine.wait(other)
        engine.check()
    assert n > 20
    engine.wait(submitted)
    assert engine.pool.n_available == engine.pool.n_pages


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_an_abandoned_sequence_is_ended_by_the_next_call(executor, steps):
    engine = Engine(executor, chunk_tokens=16)
    kept, dropped = engine.submit(REQUESTS[0]), engine.submit(REQUESTS[1])
    for _ in range(steps):
        engine.step()
    with engine._lock():  # a finalizer may run in the thread that holds it
        dropped.abandon()
    assert [process.id for process in engine.processes()] == [kept.id]
    assert dropped.finish_reason == "cancelled"
    engine.check()
    engine.wait(kept)
    kept.abandon()
    engine.check()
    assert kept.finish_reason == "length"
    assert engine.pool.n_available == engine.pool.n_pages


class Abandoning:
    """An executor in which a sequence is abandoned while the native call runs."""

    def __init__(self, executor: NativeExecutor):
        self._executor, self.sequence = executor, None

    def __getattr__(self, name):
        return getattr(self._executor, name)

    def step(self, batch):
        if self.sequence:
            self.sequence.abandon()
        return self._executor.step(batch)


def test_a_sequence_that_is_abandoned_in_its_step_takes_nothing_of_it(executor):
    engine = Engine(Abandoning(executor))
    kept, dropped = engine.submit(REQUESTS[0]), engine.submit(REQUESTS[3])
    engine.step()
    generated = dropped.generated
    engine.executor.sequence = dropped
    engine.step()
    assert (dropped.state, dropped.finish_reason, dropped.generated) == ("finished", "cancelled", generated)
    engine.check()
    engine.wait(kept)
    assert engine.pool.n_available == engine.pool.n_pages


SIGNALS = 25
CHILD = """
import signal, sys
from tests.runtime import test_interrupts as t
from llmos.runtime import Engine, NativeExecutor
from tests.tiny_programs import random_program

signal.signal(signal.SIGINT, signal.default_int_handler)
engine = Engine(NativeExecutor(random_program("int8", "int8"), threads=2, n_pages=5), chunk_tokens=32)
expected, _ = t.run(engine)
caught = told = 0
sequences = []
while told < t.SIGNALS:
    try:
        engine.check()
        if told < caught or not sequences:
            told = caught
            print(f"caught {told}", flush=True)
        if all(sequence.state == "finished" for sequence in sequences):
            assert [t.outcome(s) for s in sequences] == expected * bool(sequences), "other bytes"
            for sequence in sequences:
                engine.cancel(sequence)
            sequences = []
            sequences = [engine.submit(request) for request in t.REQUESTS]
        while engine.step():
            pass
    except KeyboardInterrupt:
        caught += 1
        if len(sequences) < len(t.REQUESTS):
            sequences = []
print("whole" if caught == t.SIGNALS else caught, flush=True)
"""


def test_a_real_ctrl_c_again_and_again_changes_no_byte(root):
    child = subprocess.Popen([sys.executable, "-c", CHILD], cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        for line in child.stdout:
            if not line.startswith("caught "):
                break
            if int(line.split()[1]) < SIGNALS:
                os.kill(child.pid, signal.SIGINT)
        assert line == "whole\n"
        assert child.wait(60) == 0
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
