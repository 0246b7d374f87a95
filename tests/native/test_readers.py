"""The native code that reads what files and callers give, between pages that nobody may touch and under AddressSanitizer.

The bundled toolchain has the undefined-behaviour and thread sanitizers (`test_native`). AddressSanitizer needs a runtime, which a
compiler of the machine may have.
"""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from llmos.compiler.targets import TARGETS, target_named
from llmos.hardware import features
from llmos.native import include_dir
from tests.native_programs import FLAGS, compile_program, run_program

pytestmark = pytest.mark.toolchain
DRIVER = Path(__file__).with_name("reader_driver.cc")
# Those of what reads files and callers; other compilers than ours take a minute and more for the others.
READERS = ("check", "groups", "pack", "sample")
SANITIZED = ["-O1", "-g", "-march=native", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@cache
def sanitizing_compiler(folder: Path) -> str | None:
    """A compiler of this machine that makes and runs sanitized programs."""
    (folder / "x.cc").write_text("int main() { return 0; }")
    for name in filter(shutil.which, ("clang++", "g++")):
        command = [name, *SANITIZED, str(folder / "x.cc"), "-o", str(folder / "x")]
        if subprocess.run(command, capture_output=True).returncode == 0:
            return name if subprocess.run([folder / "x"]).returncode == 0 else None
    return None


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """Compiles a source with AddressSanitizer; gives the program."""
    folder = tmp_path_factory.mktemp("sanitized")
    compiler = sanitizing_compiler(folder)
    if compiler is None:
        pytest.skip("no compiler with AddressSanitizer")

    def build(source: Path) -> Path:
        program = folder / source.stem
        flags = [flag for flag in FLAGS if flag != "-Werror"]  # its warnings are not those of the bundled compiler
        subprocess.run([compiler, *flags, "-w", *SANITIZED, f"-I{include_dir()}", source, "-o", program], check=True)
        return program

    return build


def cases_of(words: str) -> int:
    return int(re.fullmatch(r"(\d+) cases, \d+ steps in order\n", words)[1])


@pytest.mark.parametrize("name", sorted({"portable", target_named(None, features()).name}))
def test_readers_stay_inside_of_what_they_are_given(name, tmp_path):
    program = tmp_path / "driver"
    compile_program([DRIVER], program, TARGETS[name], "-O3")
    assert cases_of(run_program(program, TARGETS[name], "1000", "1")) == 1000


@pytest.mark.slow
def test_readers_are_clean_under_the_address_sanitizer(sanitized):
    done = subprocess.run([sanitized(DRIVER), "20000", "2"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert cases_of(done.stdout) == 20000


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_tests_of_readers_are_clean_under_the_address_sanitizer(sanitized, name):
    source = include_dir().parent / "tests" / f"{name}_test.cc"
    done = subprocess.run([sanitized(source)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(", 0 failed")
