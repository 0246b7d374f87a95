"""Programs of C++ for a target, compiled by the bundled toolchain and run here: as they are, or under emulation."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmos.compiler.targets import Target
from llmos.core.env import environment
from llmos.hardware import architecture, features
from llmos.native import include_dir

# Those of generated code, less what makes it a library.
FLAGS = [
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


def launcher(target: Target) -> list[str]:
    """What comes before a program's name to run it here. Skips where it cannot be run."""
    if target.architecture == architecture():
        if not target.needs <= features():
            pytest.skip(f"cannot run target {target.name}")
        return []
    emulator = f"qemu-{target.architecture}"
    found = shutil.which(emulator) or shutil.which(f"{emulator}-static")
    if found is None:
        pytest.skip(f"{emulator} is not installed")
    return [found]


def compile_program(sources: list[Path], program: Path, target: Target, *flags: str) -> None:
    """An executable of C++ sources.

    One that is emulated holds its C library, because the emulator has no system to offer. The toolchain builds that library
    anew for every -mcpu, which takes a minute; so it is linked for the plainest one, and only our code is for the target.
    """
    if target.architecture == architecture():
        compiler(target.triple, target.cpu, [*FLAGS, *flags], [*sources, "-o", program])
        return
    triple = f"{target.architecture}-linux-musl"
    objects = [program.with_suffix(f".{i}.o") for i, _ in enumerate(sources)]
    for source, out in zip(sources, objects, strict=True):
        compiler(triple, target.cpu, [*FLAGS, *flags, "-c"], [source, "-o", out])
    compiler(triple, "generic", ["-static", "-pthread"], [*objects, "-o", program])


def compiler(triple: str, cpu: str, flags: list[str], files: list[Path | str]) -> None:
    """Run the bundled compiler with the kernels in reach."""
    command = [sys.executable, "-m", "ziglang", "c++", "-nostdlib++", "-target", triple, f"-mcpu={cpu}", *flags]
    cache = environment().cache / "toolchain"
    variables = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache / "local")}
    subprocess.run([*command, f"-I{include_dir()}", *map(str, files)], check=True, env=variables)


def run_program(program: Path, target: Target, *arguments: str) -> str:
    """What a program writes, which has to end well."""
    command = [*launcher(target), str(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout
