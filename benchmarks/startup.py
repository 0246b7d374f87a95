"""Start-up and compile times, each in a fresh process or a fresh cache."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from shapes import A

import llmos
from llmos.compiler import Options, build_graph, build_shared, compile_code, target_named
from llmos.core.env import environment
from llmos.hardware import PROBE_SOURCE, features
from llmos.models import DEFAULT_MODEL, spec_from_config
from llmos.native import include_dir, sources_hash

__all__ = ["compile_times", "first_token_times"]

ROOT = Path(__file__).resolve().parents[1]


def first_token_times(repeats: int = 7) -> dict[str, dict[str, float]]:
    """Seconds from the start of the process to the first byte of text, everything warm."""
    verb = [sys.executable, "-m", "llmos.cli", "run", "Once upon a time", "--max-tokens", "8", "--seed", "1"]
    commands = {"llmos_run": verb}
    if (ROOT / ".venv" / ".warm").exists():
        commands["make_run"] = ["make", "-C", str(ROOT), "-s", "run"]
    out = {}
    for name, command in commands.items():
        _first_byte(command)
        times = [_first_byte(command) for _ in range(repeats)]
        out[name] = {"median_s": median(times), "min_s": min(times), "max_s": max(times)}
    return out


def _first_byte(command: list[str]) -> float:
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        assert child.stdout.read(1), f"{command} wrote nothing"
        seconds = time.perf_counter() - began
        child.stdout.read()
    return seconds


def compile_times() -> dict[str, dict[str, float]]:
    """Seconds to trace, plan and compile, with the toolchain warm and nothing else in its cache."""
    import json

    embedded = json.loads((Path(llmos.__file__).parent / "embedded" / DEFAULT_MODEL / "config.json").read_text())
    target = target_named(environment().target, features())
    out: dict[str, dict[str, float]] = {}
    for name, config in ((DEFAULT_MODEL, embedded), ("qwen2.5-0.5b-shape", A)):
        for weights in ("bf16", "int8"):
            with tempfile.TemporaryDirectory() as folder:
                os.environ["LLMOS_CACHE"] = folder
                build_shared(PROBE_SOURCE, Path(folder) / "warm.so", target)
                began = time.perf_counter()
                graph = build_graph(spec_from_config(config), Options(weights=weights))
                compile_code(graph, target, include=include_dir(), kernels_hash=sources_hash())
                out.setdefault(name, {})[weights] = time.perf_counter() - began
    return out
