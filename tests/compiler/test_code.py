"""The cache of code: what is damaged is made again, and processes that compile at once do not disturb each other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmos.api.roofs import build_probe, measure_roofs
from llmos.compiler import TARGETS, Options, build_graph, cached_library, compile_code, open_library
from llmos.compiler.toolchain import FLAGS
from llmos.core.env import environment
from llmos.core.errors import UserError
from llmos.models import spec_from_config
from llmos.native import include_dir, sources_hash
from llmos.runtime.abi import ABI_VERSION, load_library
from tests.tiny_programs import CONFIG

pytestmark = pytest.mark.toolchain


def share_toolchain(cache: Path) -> Path:
    """A cache without code that has the toolchain's start-up code already, which takes longest."""
    toolchain = environment().cache / "toolchain"
    toolchain.mkdir(parents=True, exist_ok=True)
    cache.mkdir()
    (cache / "toolchain").symlink_to(toolchain.resolve())
    return cache


def compile_tiny(said: list[str]) -> Path:
    graph = build_graph(spec_from_config(CONFIG), Options(weights="float32", kv="float32"))
    how = {"include": include_dir(), "kernels_hash": sources_hash(), "progress": said.append}
    return compile_code(graph, TARGETS["portable"], **how)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return share_toolchain(tmp_path_factory.mktemp("code") / "cache")


@pytest.fixture
def library(cache, monkeypatch) -> Path:
    """A library as it stands in a cache of its own."""
    monkeypatch.setenv("LLMOS_CACHE", str(cache))
    return compile_tiny([])


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: good[: len(good) // 2],
        lambda good: good[:-1],
        lambda good: good[:64] + bytes(len(good) - 64),
        lambda good: good[:5000] + bytes([good[5000] ^ 1]) + good[5001:],
        lambda good: b"",
        lambda good: b"hello\n" * 1000,
    ],
    ids=["half", "a byte short", "zeroed", "a flipped bit", "empty", "text"],
)
def test_a_damaged_library_is_compiled_again(damage, library):
    assert load_library(str(library)).llmos_abi_version() == ABI_VERSION
    damaged = damage(library.read_bytes())
    library.unlink()  # the bytes of a library that is loaded must not be changed in place
    library.write_bytes(damaged)
    said = []
    assert compile_tiny(said) == library
    assert said == ["compiling for portable"]
    assert load_library(str(library)).llmos_abi_version() == ABI_VERSION
    assert sorted(path.suffix for path in library.parent.iterdir()) == [".cc", ".so"]


def test_a_library_that_is_whole_is_used_as_it_is(library):
    before, said = library.stat(), []
    assert compile_tiny(said) == library
    assert (library.stat().st_ino, library.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert said == []


def damage(library: Path) -> None:
    """In a new file: the bytes of a library that is loaded must not be changed in place."""
    data = library.read_bytes()
    library.unlink()
    library.write_bytes(data[:5000])


def test_a_damaged_probe_is_compiled_again(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMOS_CACHE", str(share_toolchain(tmp_path / "cache")))
    damage(build_probe(TARGETS["portable"]))
    assert measure_roofs(target="portable", threads=1).read_bytes_per_s > 0


def test_what_the_system_does_not_load_is_explained(tmp_path):
    (tmp_path / "x.so").write_bytes(b"no library")
    with pytest.raises(UserError, match=r"compiled code cannot be loaded: .*LLMOS_CACHE"):
        open_library(tmp_path / "x.so")


def test_other_flags_are_another_library(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMOS_CACHE", str(share_toolchain(tmp_path / "cache")))
    source = 'extern "C" int two() { return 2; }'
    one = cached_library(source, TARGETS["portable"])
    assert cached_library(source, TARGETS["portable"]) == one
    monkeypatch.setattr("llmos.compiler.code.FLAGS", [*FLAGS, "-DANOTHER"])
    assert cached_library(source, TARGETS["portable"]) != one


def test_code_that_the_installation_brought_is_not_compiled(library, tmp_path, monkeypatch):
    brought = tmp_path / "prebuilt"
    brought.mkdir()
    (brought / library.name).write_bytes(library.read_bytes())
    monkeypatch.setattr("llmos.compiler.code.PREBUILT", brought)
    monkeypatch.setenv("LLMOS_CACHE", str(tmp_path / "empty"))
    said = []
    assert compile_tiny(said) == brought / library.name
    assert said == []
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize("change", ["other kernels", "another flag", "damage"])
def test_code_that_the_installation_brought_for_something_else_is_not_used(change, library, tmp_path, monkeypatch):
    brought = tmp_path / "prebuilt"
    brought.mkdir()
    data = library.read_bytes()
    (brought / library.name).write_bytes(data[:5000] if change == "damage" else data)
    monkeypatch.setattr("llmos.compiler.code.PREBUILT", brought)
    if change == "another flag":
        monkeypatch.setattr("llmos.compiler.code.FLAGS", [*FLAGS, "-DANOTHER"])
    graph = build_graph(spec_from_config(CONFIG), Options(weights="float32", kv="float32"))
    kernels = sources_hash() + ("" if change != "other kernels" else "x")
    found = compile_code(graph, TARGETS["portable"], include=include_dir(), kernels_hash=kernels)
    assert found.parent == library.parent


CHILD = """
import sys
from tests.compiler.test_code import compile_tiny
from llmos.runtime.abi import load_library
print("ready", flush=True)
sys.stdin.readline()
print(*compile_tiny([]).parts[-1:], flush=True)
load_library(str(compile_tiny([]))).llmos_abi_version()
"""


@pytest.mark.parametrize("cold", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["warm", "cold"])
def test_two_processes_that_compile_the_same_model_at_once_both_succeed(cold, tmp_path, root):
    cache = tmp_path / "cache"
    if not cold:
        share_toolchain(cache)
    variables = {**os.environ, "LLMOS_CACHE": str(cache)}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", CHILD]
    children = [
        subprocess.Popen(command, cwd=root, env=variables, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(3)
    ]
    try:
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        said = [child.communicate(timeout=500) for child in children]
    finally:
        for child in children:
            child.kill()
    assert [(child.returncode, error) for child, (_, error) in zip(children, said, strict=True)] == [(0, "")] * 3
    assert len({name for name, _ in said}) == 1
    assert sorted(path.suffix for path in (cache / "code").iterdir()) == [".cc", ".so"]
