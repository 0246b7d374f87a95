"""What LLMOS and its peers are asked to do, the same for each: token ids in, seconds out. Standard library only.

A side is a script with a class that has `version()`, `convert(shape, folder, out, format)`, `load(path, format, threads, room)` and
`generate(prompts, n)`. A run of the script measures one job in a process of its own and prints one JSON line. Prompts differ
between repeats and sequences, so that no prefix cache answers.
"""

import argparse
import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from reading import Reader, own_memory

__all__ = ["JOBS", "Job", "Room", "Side", "main"]

_WARM = 4  # tokens of a first, unmeasured generation


@dataclass(frozen=True, kw_only=True)
class Job:
    """`sequences` prompts of `prompt` ids, and `tokens` drawn greedily for each. tokens 0: load, and draw one."""

    prompt: int
    tokens: int
    sequences: int = 1
    repeats: int = 1


JOBS = {
    "short": Job(prompt=32, tokens=65, repeats=2),
    "prompt": Job(prompt=512, tokens=1, repeats=2),
    "long": Job(prompt=2048, tokens=33),
    "eight": Job(prompt=32, tokens=33, sequences=8),
    "sixteen": Job(prompt=32, tokens=33, sequences=16),
    "load": Job(prompt=8, tokens=0),
}


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a side must have room for: `sequences` of `context` positions each."""

    sequences: int
    context: int


class Side(Protocol):
    def version(self) -> dict[str, str]: ...

    def convert(self, shape: str, folder: Path, out: Path, format: str) -> None:
        """Write what `load` reads. folder: a Hugging Face folder of the shape in bf16."""

    def load(self, path: str, format: str, threads: int, room: Room) -> None: ...

    def generate(self, prompts: Sequence[Sequence[int]], n: int) -> tuple[float, float]:
        """Seconds to the first token of every prompt, and from there to the n-th."""


def prompt(n: int, seed: int) -> list[int]:
    """n ids that depend on the seed and fit any vocabulary of 20003 or more."""
    return [3 + (i * 7919 + seed * 104729) % 20000 for i in range(n)]


def main(side: Side) -> None:
    options = arguments()
    if options.task == "version":
        print(json.dumps(side.version()))
    elif options.task == "convert":
        side.convert(options.shape, options.folder, options.path, options.format)
    else:
        print(json.dumps(measure(side, options, JOBS[options.job])), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["version", "convert", "measure"])
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--format", default="")
    parser.add_argument("--shape")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--job", choices=JOBS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--probe", type=Path, help="compiled probe that reads memory")
    return parser.parse_args()


def measure(side: Side, options: argparse.Namespace, job: Job) -> dict[str, Any]:
    # Room for 2048 and more also where less is asked: how much a side sets aside is not what is compared.
    room = Room(sequences=job.sequences, context=2304 if job.sequences == 1 else 256)
    before = _status("VmRSS")
    began = time.perf_counter()
    side.load(str(options.path), options.format, options.threads, room)
    load_s = time.perf_counter() - began
    if not job.tokens:
        side.generate([prompt(job.prompt, 98)], 1)
        first_s = time.perf_counter() - began
        return {"load_s": load_s, "load_to_token_s": first_s, "memory_bytes": _status("VmHWM") - before}
    side.generate([prompt(32, 97 + i) for i in range(job.sequences)], _WARM)
    return asdict(job) | {"load_s": load_s, "runs": _runs(side, options, job)}


def _runs(side: Side, options: argparse.Namespace, job: Job) -> list[dict[str, float]]:
    weights = getattr(side, "weights", None)  # (address, bytes) of the memory that holds them, where a side tells
    reader = Reader(options.probe, weights() if weights else own_memory(), options.threads)
    runs, read = [], reader.bytes_per_s()
    for repeat in range(job.repeats):
        prompts = [prompt(job.prompt, repeat * job.sequences + i) for i in range(job.sequences)]
        first_s, rest_s = side.generate(prompts, job.tokens)
        after = reader.bytes_per_s()
        run = {"read_bytes_per_s": median((read, after)), "prefill_tokens_per_s": job.prompt * job.sequences / first_s}
        if job.tokens > 1:
            run["decode_tokens_per_s"] = job.sequences * (job.tokens - 1) / rest_s
        runs.append(run)
        read = after
    return runs


def _status(name: str) -> int:
    """Bytes of a line of the kernel's account of this process, 0 where there is none."""
    path = Path("/proc/self/status")
    found = re.search(rf"{name}:\s+(\d+) kB", path.read_text()) if path.exists() else None
    return int(found[1]) * 1024 if found else 0
