"""`make bench`: start-up, compile times, and speed beside llama.cpp in the same minutes. One JSON document on stdout.

The peer lives in any Python that has llama-cpp-python and gguf: name it with --peer-python. Without one the report says so.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
PARTS = ("machine", "startup", "compile", "speed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with llama-cpp-python and gguf")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=2, help="times that every side takes its turn")
    parser.add_argument("--threads", type=int, help="threads for every side [all that may be used]")
    options = parser.parse_args()
    report: dict[str, Any] = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit()}
    from llmos.hardware import usable_cores

    threads = options.threads or usable_cores()
    for part in options.only:
        print(f"measuring {part}", file=sys.stderr)
        report[part] = measure(part, options, threads)
    print(json.dumps(report, indent=2))


def measure(part: str, options: argparse.Namespace, threads: int) -> Any:
    if part == "machine":
        return machine()
    if part == "speed":
        return speed(options.peer_python, options.rounds, threads)
    from startup import compile_times, first_token_times

    return first_token_times() if part == "startup" else compile_times()


def machine() -> dict[str, Any]:
    from llmos.api import measure_roofs
    from llmos.hardware import memory, model_name, topology

    facts = {"processor": model_name(), "topology": asdict(topology()), "memory": asdict(memory())}
    return facts | {"roofs": asdict(measure_roofs())}


def speed(peer_python: str, rounds: int, threads: int) -> dict[str, Any]:
    """Turns of ours and the peer's, one after the other, so that a disturbance meets both."""
    missing = peer_missing(peer_python)
    out: dict[str, Any] = {"model": "random weights in the shape of Qwen2.5-0.5B"}
    if missing:
        out["peer_missing"] = missing
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([sys.executable, str(HERE / "qwen_shape.py"), str(folder / "hf")])
        for weights in ("bf16", "int8"):
            sides = {"llmos": [sys.executable, str(HERE / "speed_llmos.py"), str(folder / "hf")]}
            if not missing:
                file = folder / f"{weights}.gguf"
                run([peer_python, str(HERE / "qwen_shape.py"), str(file), "--gguf", weights])
                sides["llama.cpp"] = [peer_python, str(HERE / "speed_llama_cpp.py"), str(file)]
            out[weights] = compare(sides, ["--weights", weights, "--threads", str(threads)], rounds)
    return out


def compare(sides: dict[str, list[str]], flags: list[str], rounds: int) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, command in sides.items():
            runs[side].append(json.loads(run([*command, *flags]).splitlines()[-1]))
    out: dict[str, Any] = {side: summary(reports) for side, reports in runs.items()}
    if "llama.cpp" in out:
        pairs = ("prefill_tokens_per_s", "decode_tokens_per_s")
        out["ratio"] = {name: out["llmos"][name]["median"] / out["llama.cpp"][name]["median"] for name in pairs}
    return out


def summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in ("prefill_tokens_per_s", "decode_tokens_per_s"):
        values = [value for report in reports for value in report[name]]
        out[name] = {"median": median(values), "min": min(values), "max": max(values)}
    for name in ("load_s", "peak_rss_bytes"):
        out[name] = median(report[name] for report in reports)
    return out


def peer_missing(python: str) -> str | None:
    """Why the peer cannot run, None where it can."""
    done = subprocess.run([python, "-c", "import gguf, llama_cpp"], capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return f"llama.cpp was not measured: {done.stderr.strip().splitlines()[-1]}; pip install 'llmos[bench]', or --peer-python"


def run(command: list[str]) -> str:
    """Standard output of a command. Huge pages are asked for on behalf of every side: the peers do not do it themselves."""
    variables = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=variables)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} exited with {done.returncode}")
    return done.stdout


def commit() -> str | None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True)
    return done.stdout.strip() or None


if __name__ == "__main__":
    main()
