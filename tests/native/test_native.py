"""The kernels' own tests, compiled with the flags of generated code and run for each instruction set of this machine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmos.compiler.targets import TARGETS, target_named
from llmos.core.env import environment
from llmos.hardware import features
from llmos.native import include_dir

pytestmark = pytest.mark.toolchain
SOURCES = sorted((include_dir().parent / "tests").glob("*_test.cc"))
FLAGS = [
    "-nostdlib++",
    "-target",
    "x86_64-linux-gnu.2.17",
    "-std=c++20",
    "-ffp-contract=off",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-math-errno",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-parameter",
    "-Wno-psabi",
    "-pthread",
]
SANITIZERS = {
    "undefined": ["-O1", "-fsanitize=undefined", "-fsanitize-trap=undefined"],
    "thread": ["-O1", "-fsanitize=thread"],
}
FAST = ("portable", target_named(None, features()).name)


def outcome(source: Path, folder: Path, target: str, *flags: str) -> str:
    """The closing line of a test program, which is compiled first."""
    if not TARGETS[target].needs <= features():
        pytest.skip(f"cannot run target {target}")
    program = folder / source.stem
    command = [sys.executable, "-m", "ziglang", "c++", *FLAGS, *flags, f"-mcpu={TARGETS[target].cpu}"]
    cache = environment().cache / "toolchain"
    variables = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache / "local")}
    subprocess.run([*command, f"-I{include_dir()}", str(source), "-o", str(program)], check=True, env=variables)
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "target", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in TARGETS]
)
def test_kernels_agree_with_their_definitions(source: Path, target: str, tmp_path: Path):
    assert re.fullmatch(r"[1-9]\d* passed, 0 failed", outcome(source, tmp_path, target, "-O3"))


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_kernels_are_clean_under_sanitizers(source: Path, sanitizer: str, tmp_path: Path):
    target = target_named(None, features()).name
    assert outcome(source, tmp_path, target, *SANITIZERS[sanitizer]).endswith(", 0 failed")


def test_every_mechanism_has_a_test():
    tested = {path.stem.removesuffix("_test") for path in SOURCES}
    data_only = {"call", "kernels", "step"}
    assert {path.stem for path in include_dir().rglob("*.h")} == tested | data_only
