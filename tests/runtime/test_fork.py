"""A forked child has the model's memory and none of its threads: it is told so, and the parent does not notice."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.toolchain

PARENT = """
import gc, os, signal, sys, threading
from llmos.core.errors import UserError
from llmos.runtime import Engine, NativeExecutor, Request
from tests.tiny_programs import random_program

engine = Engine(NativeExecutor(random_program("int8", "int8"), threads=int(sys.argv[1]), n_pages=8))
ids = tuple(range(40))
expected = engine.submit(Request(ids=ids, max_tokens=20))
engine.wait(expected)
sequence = engine.submit(Request(ids=ids[::-1], max_tokens=20))
again = engine.submit(Request(ids=ids, max_tokens=20))
engine.step()
held = threading.Event()

def hold():
    with engine._lock():  # as a thread that waits in a step does
        held.set()
        forked.wait()

forked = threading.Event()
if sys.argv[2] == "stepping":
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
child = os.fork()
if child == 0:
    signal.alarm(30)  # it would spin in native code, where nothing else ends it
    try:
        engine.cancel(sequence)
        engine.wait(engine.submit(Request(ids=ids[:5], max_tokens=50)))
    except UserError as error:
        print(error, flush=True)
    engine.close()
    executor = engine.executor
    del engine, executor
    gc.collect()
    os._exit(0)
forked.set()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
engine.wait(sequence)
engine.wait(again)
assert again.generated == expected.generated
print(sequence.generated)
engine.check()
engine.close()
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("others", ["none", "stepping"])
def test_a_forked_child_is_told_to_load_the_model_again_and_the_parent_goes_on(root, threads, others):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARENT, str(threads), others],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said, generated = done.stdout.splitlines()
    assert said == "the model was loaded in another process: load it again there"
    assert generated == expected(root)


def expected(root) -> str:
    """What the parent says where nothing forks."""
    alone = PARENT.replace("os.fork()", "os.posix_spawn(sys.executable, [sys.executable, '-c', ''], os.environ)")
    done = subprocess.run(
        [sys.executable, "-c", alone, "1", "none"], cwd=root, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()
