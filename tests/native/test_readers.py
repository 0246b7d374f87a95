"""The native code that reads what files and callers give, between pages that nobody may touch; all of it under AddressSanitizer.

The bundled toolchain has the undefined-behaviour and thread sanitizers (`test_native`). AddressSanitizer needs a runtime, which a
compiler of the machine may have.
"""

import re
import subprocess
from pathlib import Path

import pytest

from llmos.compiler.targets import TARGETS, target_named
from llmos.hardware import features
from llmos.native import include_dir
from tests.native_programs import compile_program, run_program

pytestmark = pytest.mark.toolchain
DRIVER = Path(__file__).with_name("reader_driver.cc")
SOURCES = sorted((include_dir().parent / "tests").glob("*_test.cc"))
UNDEFINED = "-fsanitize=undefined"
# Tests of what reads files and callers. With both sanitizers those compilers take minutes for the others, of which the undefined
# behaviour is looked for by the bundled one.
READERS = ("check", "groups", "pack", "sample")


def cases_of(words: str) -> int:
    return int(re.fullmatch(r"(\d+) cases, \d+ steps in order\n", words)[1])


@pytest.mark.parametrize("name", sorted({"portable", target_named(None, features()).name}))
def test_readers_stay_inside_of_what_they_are_given(name, tmp_path):
    program = tmp_path / "driver"
    compile_program([DRIVER], program, TARGETS[name], "-O3")
    assert cases_of(run_program(program, TARGETS[name], "1000", "1")) == 1000


@pytest.mark.slow
def test_readers_are_clean_under_the_address_sanitizer(sanitized):
    done = subprocess.run([sanitized(DRIVER, UNDEFINED), "20000", "2"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert cases_of(done.stdout) == 20000


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_tests_of_kernels_are_clean_under_the_address_sanitizer(sanitized, source):
    flags = [UNDEFINED] if source.stem.removesuffix("_test") in READERS else []
    done = subprocess.run([sanitized(source, *flags)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(", 0 failed")
