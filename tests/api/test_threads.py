"""More threads than cores are not used, and cores that others use change no token."""

import os
import subprocess
import sys

import pytest

import llm
from llmos.api.threads import chosen_threads, told_of_threads
from llmos.hardware import usable_cores

SETTINGS = "max_tokens=24, temperature=0, ignore_eos=True"

ON_ONE_CORE = f"""
import os, warnings
import llm
os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", llm.ModelNotice)
    model = llm.load_model("llmos-mini", threads=2)
print(model.info()["threads"], [str(notice.message) for notice in caught])
print(model.generate_tokens("Once upon a time", {SETTINGS}))
"""

BESIDE_OTHER_WORK = f"""
import llm
model = llm.load_model("llmos-mini", threads=2)
print(model.info()["threads"])
print(model.generate_tokens("Once upon a time", {SETTINGS}))
"""

BURNING = """
import os
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
print("burning", flush=True)
while True:
    pass
"""


def test_threads_are_at_most_the_cores_that_the_process_may_keep_busy(monkeypatch: pytest.MonkeyPatch):
    usable = usable_cores()
    assert [chosen_threads(n) for n in (None, 1, usable, 64 * usable)] == [usable, 1, usable, usable]
    assert told_of_threads(None) == told_of_threads(usable) == ()
    assert told_of_threads(64 * usable)[0].startswith(f"{64 * usable} threads were asked for and {usable} will be used")
    monkeypatch.setenv("LLMOS_THREADS", "1000")
    assert (chosen_threads(None), chosen_threads(1)) == (usable, 1)
    assert told_of_threads(None)[0].startswith("1000 threads")
    assert told_of_threads(1) == ()


def test_a_plan_with_more_threads_than_cores_says_what_would_be_used():
    with pytest.warns(llm.ModelNotice, match="^500 threads were asked for"):
        assert llm.plan("llmos-mini", context=64, threads=500, measure=False).threads == usable_cores()


@pytest.fixture(scope="module")
def tokens() -> str:
    with llm.load_model("llmos-mini", threads=1) as model:
        return str(model.generate_tokens("Once upon a time", max_tokens=24, temperature=0, ignore_eos=True))


@pytest.mark.toolchain
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="not Linux")
def test_a_process_that_may_use_one_core_gets_one_thread_is_told_so_and_makes_the_same_tokens(tokens: str):
    first, second = said(ON_ONE_CORE)
    threads, notices = first.split(maxsplit=1)
    assert threads == "1"
    assert "2 threads were asked for and 1 will be used" in notices
    assert second == tokens


@pytest.mark.toolchain
@pytest.mark.skipif(usable_cores() < 2 or not hasattr(os, "sched_setaffinity"), reason="not Linux, or one core")
def test_two_threads_of_which_one_has_no_core_to_itself_end_with_the_same_tokens(tokens: str):
    burner = subprocess.Popen([sys.executable, "-c", BURNING], stdout=subprocess.PIPE, text=True)
    try:
        assert burner.stdout and burner.stdout.readline() == "burning\n"
        assert said(BESIDE_OTHER_WORK) == ["2", tokens]
    finally:
        burner.kill()
        burner.communicate()


def said(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
