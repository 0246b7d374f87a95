"""Ctrl-C while the toolchain works: gone at once, nothing half made, nobody left behind, and the next run works."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.toolchain


def compilers_in(cache: Path) -> list[int]:
    """Processes that compile into a cache: those that name it among their arguments or in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            words = (folder / "cmdline").read_bytes()
            if b"zig" in words and str(cache).encode() in words + (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def start(cache: Path, *args: str) -> subprocess.Popen:
    variables = {**os.environ, "LLMOS_CACHE": str(cache)}
    command = [sys.executable, "-m", "llmos.cli", *args]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def interrupt_at_work(process: subprocess.Popen, cache: Path) -> tuple[str, str]:
    """Send SIGINT once the compiler and a child of its own run. Returns what was written to stdout and stderr."""
    deadline = time.monotonic() + 120
    while len(compilers_in(cache)) < 2:
        assert time.monotonic() < deadline, "no compiler was started"
        with contextlib.suppress(subprocess.TimeoutExpired):
            pytest.fail(f"it ended before the compiler was seen, with {process.wait(0.01)}")
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)


@pytest.mark.parametrize("verb", ["compile", "run"])
def test_ctrl_c_while_compiling_leaves_nothing_and_the_next_run_works(verb, tmp_path: Path):
    cache, bundle = tmp_path / "cache", tmp_path / "x.llm"
    args = {
        "compile": ("compile", "llmos-mini", "-o", str(bundle)),
        "run": ("run", "Once upon a time", "--max-tokens", "3"),
    }[verb]
    process = start(cache, *args)
    try:
        said, complained = interrupt_at_work(process, cache)
        assert process.returncode == 130, complained
        assert said == ""
        assert complained.count("\n") <= 1
        assert "Traceback" not in complained
        assert compilers_in(cache) == []
        assert [path.name for path in (cache / "code").iterdir() if path.suffix != ".cc"] == []
        assert not bundle.exists()
        process = start(cache, *args)
        _, complained = process.communicate(timeout=300)
        assert process.returncode == 0, complained
        assert sorted(path.suffix for path in (cache / "code").iterdir()) == [".cc", ".so"]
        assert bundle.exists() == (verb == "compile")
    finally:
        process.kill()
        process.wait()
