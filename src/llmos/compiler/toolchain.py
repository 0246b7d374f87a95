"""The C++ toolchain: the pinned `ziglang` package, or the compiler named by LLMOS_CC.

The package's compiler needs no system headers, compiler or linker. It keeps its own cache inside ours, so an empty or
unwritable home is no obstacle; the first use of a target builds its start-up code (seconds), later ones do not.
"""

import contextlib
import importlib.util
import os
import shlex
import signal
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmos.compiler.targets import Target
from llmos.core.env import environment
from llmos.core.errors import LlmosError, ResourceError
from llmos.core.files import make_directory
from llmos.core.log import get_logger

__all__ = ["FLAGS", "build_shared", "toolchain_id"]

FLAGS = [
    "-std=c++20",
    "-O3",
    "-g0",  # else the toolchain adds what a debugger reads, four fifths of a library, with the names of our folders
    "-ffp-contract=off",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-math-errno",
    "-fPIC",
    "-shared",
] + ["-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-psabi", "-pthread"]
_PLAIN = {"x86_64": "x86_64", "aarch64": "generic"}
_TIMEOUT_S = 600
_OWN_GROUP: dict[str, Any] = {"process_group": 0} if hasattr(os, "killpg") else {}  # so that it can be ended as a whole


def toolchain_id() -> str:
    """What compiles, as part of the cache key: package version, or the text of LLMOS_CC with that compiler's version."""
    own = environment().cc
    if own is None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            return f"ziglang {version('ziglang')}"
        except PackageNotFoundError:
            raise _missing() from None
    try:
        out = subprocess.run([*shlex.split(own), "--version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ResourceError(f"LLMOS_CC = {own!r} does not run: {error}") from error
    return f"{own}: {out.stdout.splitlines()[0]}"


def build_shared(source: Path, out: Path, target: Target, *, include: tuple[Path, ...] = ()) -> None:
    """Compile one C++ file to a shared library that appears at `out` whole or not at all.

    Raises ResourceError where there is no compiler, it cannot be run or the disk is full; LlmosError with the compiler's
    words where it refuses the code, which is a defect of LLMOS.
    """
    make_directory(out.parent)
    cache = make_directory(environment().cache / "toolchain")
    variables = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache / "local")}
    # The library's own name in a folder of its own: linkers write it into what they make, and leave other files beside it.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".building.") as folder:
        made = Path(folder) / out.name
        try:
            for command in _commands(source, made, target, [f"-I{path}" for path in include]):
                _compile(command, variables, out)
        except FileNotFoundError as error:
            raise _missing() from error
        except subprocess.TimeoutExpired as error:
            raise ResourceError(
                f"the C++ compiler did not finish within {_TIMEOUT_S} s: the machine may be overloaded"
            ) from error
        os.replace(made, out)


def _commands(source: Path, library: Path, target: Target, include: list[str]) -> list[list[str]]:
    """What makes the library. For Windows in two steps.

    The toolchain links it with a C library of its own, which it builds for every -mcpu anew, in more than a minute: it is linked
    for the plainest processor of the architecture, and only our code is for the target.
    """
    if target.system != "windows" or environment().cc is not None:
        return [[*_compiler(target), *FLAGS, *target.link, *include, str(source), "-o", str(library)]]
    plain = replace(target, cpu=_PLAIN[target.architecture])
    compiled = [flag for flag in FLAGS if flag != "-shared"]
    middle = str(library.with_suffix(".o"))
    return [
        [*_compiler(target), *compiled, *include, "-c", str(source), "-o", middle],
        [*_compiler(plain), "-shared", "-pthread", *target.link, middle, "-o", str(library)],
    ]


def _compile(command: list[str], variables: dict[str, str], out: Path) -> None:
    get_logger("compiler").debug("%s", shlex.join(command))
    code, words = _run(command, variables)
    if code < 0:
        raise ResourceError(f"the C++ compiler was ended by signal {-code}: the machine may be short of memory")
    if code > 0:
        raise _refused(words, out)


def _run(command: list[str], variables: dict[str, str]) -> tuple[int, str]:
    """Exit code and stderr of a compiler. Whatever ends the wait ends the compiler too, with the processes that it started."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=variables,
        **_OWN_GROUP,
    )
    try:
        _, words = process.communicate(timeout=_TIMEOUT_S)
        return process.returncode, words
    except BaseException:
        _end(process)
        process.communicate()  # ends when nobody holds the pipe any more, so that nobody writes any more
        raise


def _end(process: subprocess.Popen) -> None:
    """End a process with those that it started; it may have ended just now."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)


def _compiler(target: Target) -> list[str]:
    own = environment().cc
    if own is not None:
        return [*shlex.split(own), *_architecture_flags(target)]
    found = importlib.util.find_spec("ziglang")
    if found is None or not found.submodule_search_locations:
        raise _missing()
    # The program itself: `python -m ziglang` would on Windows be a process between us and it that cannot end it.
    program = Path(found.submodule_search_locations[0]) / ("zig.exe" if os.name == "nt" else "zig")
    return [str(program), "c++", "-nostdlib++", "-target", target.triple, f"-mcpu={target.cpu}"]


def _architecture_flags(target: Target) -> list[str]:
    """The instruction set in the words of clang and g++."""
    first, *more = target.cpu.split("+")
    if target.architecture == "aarch64":
        return ["-march=" + "+".join(["armv8.2-a" if more else "armv8-a", *more])]
    return [f"-march={first.replace('x86_64', 'x86-64').replace('_v', '-v')}", *(f"-m{name}" for name in more)]


def _missing() -> ResourceError:
    return ResourceError(
        "no C++ toolchain: the package ziglang is not installed; `pip install ziglang==0.17.1`, or set LLMOS_CC to clang++ or g++"
    )


def _refused(stderr: str, out: Path) -> LlmosError:
    if "NoSpaceLeft" in stderr or "No space left" in stderr:
        return ResourceError(f"no space left to compile into {out.parent}: free some disk, or set LLMOS_CACHE")
    own = environment().cc
    if own is not None:
        return ResourceError(
            f"LLMOS_CC = {own!r} does not compile the code: correct its arguments, or unset it to use the bundled compiler:\n"
            f"{stderr[-4000:]}"
        )
    return LlmosError(f"the C++ compiler refused generated code (a defect of LLMOS):\n{stderr[-4000:]}")
