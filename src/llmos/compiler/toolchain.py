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
import sys
import tempfile
from pathlib import Path

from llmos.compiler.targets import Target
from llmos.core.env import environment
from llmos.core.errors import LlmosError, ResourceError
from llmos.core.files import make_directory
from llmos.core.log import get_logger

__all__ = ["FLAGS", "build_shared", "toolchain_id"]

FLAGS = [
    "-std=c++20",
    "-O3",
    "-ffp-contract=off",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-math-errno",
    "-fPIC",
    "-shared",
] + ["-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-psabi", "-pthread"]
_TIMEOUT_S = 600


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
    fd, temporary = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp.so")
    os.close(fd)
    command = [*_compiler(target), *FLAGS, *(f"-I{path}" for path in include), str(source), "-o", temporary]
    variables = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache / "local")}
    get_logger("compiler").debug("%s", shlex.join(command))
    try:
        code, words = _run(command, variables)
        if code < 0:
            raise ResourceError(f"the C++ compiler was ended by signal {-code}: the machine may be short of memory")
        if code > 0:
            raise _refused(words, out)
        os.replace(temporary, out)
    except FileNotFoundError as error:
        raise _missing() from error
    except subprocess.TimeoutExpired as error:
        raise ResourceError(
            f"the C++ compiler did not finish within {_TIMEOUT_S} s: the machine may be overloaded"
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


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
        process_group=0,
    )
    try:
        _, words = process.communicate(timeout=_TIMEOUT_S)
        return process.returncode, words
    except BaseException:
        with contextlib.suppress(ProcessLookupError):  # it may have ended just now
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()  # ends when nobody holds the pipe any more, so that nobody writes any more
        raise


def _compiler(target: Target) -> list[str]:
    own = environment().cc
    if own is not None:
        features = target.cpu.replace("x86_64_v", "x86-64-v").replace("x86_64", "x86-64").split("+")
        return [*shlex.split(own), f"-march={features[0]}", *(f"-m{name}" for name in features[1:])]
    if importlib.util.find_spec("ziglang") is None:
        raise _missing()
    return [
        sys.executable,
        "-m",
        "ziglang",
        "c++",
        "-nostdlib++",
        "-target",
        "x86_64-linux-gnu.2.17",
        f"-mcpu={target.cpu}",
    ]


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
