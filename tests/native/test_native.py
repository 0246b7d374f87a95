"""The kernels' own tests, compiled with the flags of generated code and run for each instruction set: on this machine, or emulated."""

import re
from pathlib import Path

import pytest

from llmos.compiler.targets import TARGETS, target_named
from llmos.hardware import features
from llmos.native import include_dir
from tests.native_programs import compile_program, launcher, run_program

pytestmark = pytest.mark.toolchain
SOURCES = sorted((include_dir().parent / "tests").glob("*_test.cc"))
SANITIZERS = {
    "undefined": ["-O1", "-fsanitize=undefined", "-fsanitize-trap=undefined"],
    "thread": ["-O1", "-fsanitize=thread"],
}
FAST = {target_named("portable", features()).name, target_named(None, features()).name}
EMULATED = "aarch64-dotprod"  # fast too, as far as its instructions matter and emulation takes seconds
FAST_EMULATED = {"vec_test", "quantize_test", "pack_test", "team_test"}


def matrix() -> list:
    """Every program on every target, those that `make test` leaves out marked slow."""
    rows = []
    for target in TARGETS:
        for source in SOURCES:
            fast = target in FAST or (target == EMULATED and source.stem in FAST_EMULATED)
            marks = () if fast else pytest.mark.slow
            rows.append(pytest.param(target, source, marks=marks, id=f"{target}-{source.stem}"))
    return rows


def outcome(source: Path, folder: Path, target: str, *flags: str) -> str:
    """The closing line of a test program, which is compiled first."""
    program = folder / source.stem
    launcher(TARGETS[target])
    compile_program([source], program, TARGETS[target], *flags)
    return run_program(program, TARGETS[target]).splitlines()[-1]


@pytest.mark.parametrize(("target", "source"), matrix())
def test_kernels_agree_with_their_definitions(target: str, source: Path, tmp_path: Path):
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
