"""`python benchmarks/plan.py`: what `llmos plan` says against what is then measured, over models, formats, batches and threads.

Each configuration runs in processes of its own: one plans memory, one loads the model, fills its contexts once (its peak is read
then), and takes turns of probing and generating, so that both meet the same disturbances. The ratio of a turn is the mean of the
predictions before and after it over what was measured between; of the turns the median is told. A table goes to stderr, one
JSON document to stdout. About six minutes on two cores.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median
from typing import Any

from shapes import A, write_folder

HERE = Path(__file__).resolve()
SMALL = A | {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
SMALL |= {"num_attention_heads": 9, "num_key_value_heads": 3}
WITHIN = {"memory": 0.10, "prefill": 0.25, "decode": 0.25}


@dataclass(frozen=True, kw_only=True)
class Case:
    """model: llmos-mini, or the name of a shape below. prompt, tokens: of each of `batch` sequences."""

    model: str
    weights: str
    kv: str = "bf16"
    threads: int = 2
    batch: int = 1
    prompt: int = 512
    tokens: int = 64

    @property
    def context(self) -> int:
        return self.prompt + self.tokens


CASES = [
    Case(model="llmos-mini", weights="bf16", threads=1, prompt=256, tokens=200),
    Case(model="llmos-mini", weights="float32", kv="float32", batch=8, prompt=128, tokens=128),
    Case(model="135m", weights="bf16"),
    Case(model="135m", weights="int8", batch=4, prompt=1000),
    Case(model="135m", weights="float32", kv="float32", threads=1),
    Case(model="135m", weights="int8", kv="int8", batch=8, prompt=64, threads=1),
    Case(model="0.5b", weights="bf16", tokens=48),
    Case(model="0.5b", weights="int8", tokens=48),
    Case(model="0.5b", weights="int8", prompt=2000, tokens=48),
    Case(model="0.5b", weights="int8", batch=8, prompt=64, tokens=32),
    Case(model="random", weights="bf16", batch=4, prompt=300),
    Case(model="random", weights="int8", threads=1),
]
LATER = ("float16", "int4", "uint4")  # measured where this version has them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="numbers of configurations, or names of models")
    parser.add_argument("--seed", type=int, default=0, help="of the random shape")
    parser.add_argument("--folder", type=Path, help="keep the models here [a temporary folder]")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a child measures
    options = parser.parse_args()
    if options.one:
        measure(json.loads(options.one))
        return
    with tempfile.TemporaryDirectory() as temporary:
        report = run_all(options, options.folder or Path(temporary))
    print(json.dumps(report, indent=2))
    sys.exit(0 if all(row["kept"] for row in report["cases"]) else 1)


def run_all(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from llmos.compiler import FORMATS
    from llmos.hardware import model_name

    cases = CASES + [Case(model="135m", weights=name) for name in LATER if name in FORMATS]
    wanted = [case for i, case in enumerate(cases) if not options.only or {str(i), case.model} & set(options.only)]
    rows = []
    print(f"{'configuration':<44}{'memory':>20}{'prefill':>22}{'decode':>22}   load", file=sys.stderr)
    for case in wanted:
        rows.append(run_case(case, model_path(case.model, folder, options.seed), options.turns))
        print(line(rows[-1]), file=sys.stderr, flush=True)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {"when": when, "processor": model_name(), "seed": options.seed, "within": WITHIN, "cases": rows}


def model_path(name: str, folder: Path, seed: int) -> str:
    """The checkpoint of a shape, written where it is not there yet."""
    shapes = {"0.5b": A, "135m": SMALL, "random": random_shape(seed)}
    if name not in shapes:
        return name
    path = folder / (f"random-{seed}" if name == "random" else name)
    return str(path if (path / "config.json").exists() else write_folder(path, shapes[name]))


def random_shape(seed: int) -> dict[str, Any]:
    """A shape that nobody tuned anything for."""
    draw = random.Random(seed)
    kv_heads, group, head_dim = draw.choice((1, 2, 3, 5)), draw.choice((1, 2, 4)), draw.choice((48, 64, 80, 96, 128))
    return A | {
        "num_key_value_heads": kv_heads,
        "num_attention_heads": kv_heads * group,
        "head_dim": head_dim,
        "hidden_size": 16 * draw.randint(30, 70),
        "intermediate_size": draw.randint(1000, 3500),
        "num_hidden_layers": draw.randint(6, 20),
        "vocab_size": draw.randint(20100, 60000),
        "tie_word_embeddings": True,
    }


def run_case(case: Case, path: str, turns: int) -> dict[str, Any]:
    """The planned and measured figures of one configuration, and their ratios."""
    job = asdict(case) | {"path": path, "turns": turns}
    planned = child(job | {"task": "plan"})
    found = child(job | {"task": "run"})
    ratios = {"memory": planned["peak_bytes"] / found["peak_bytes"]}
    for name in ("prefill", "decode"):
        ratios[name] = median(predicted / measured for predicted, measured in found[name])
    kept = {name: abs(ratios[name] - 1) <= WITHIN[name] for name in ratios}
    return asdict(case) | {"ratios": ratios, "planned": planned, "measured": found, "kept": all(kept.values())}


def child(job: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(HERE), "--one", json.dumps(job)], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{job} failed with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(job: dict[str, Any]) -> None:
    """What a child process does, its result as one line."""
    print(json.dumps(plan_memory(job) if job["task"] == "plan" else turns_of(job)))


def settings(job: dict[str, Any]) -> dict[str, Any]:
    return {name: job[name] for name in ("weights", "kv", "threads", "batch")} | {
        "context": job["prompt"] + job["tokens"]
    }


def plan_memory(job: dict[str, Any]) -> dict[str, Any]:
    import llm

    made = llm.plan(job["path"], prompt=job["prompt"], measure=False, **settings(job))
    return {"peak_bytes": made.peak_bytes, "memory": made.memory, "fits": made.fits}


def turns_of(job: dict[str, Any]) -> dict[str, Any]:
    from llmos.api.model import Model
    from llmos.api.prepare import prepare

    prepare(job["path"], **settings(job))  # compiles, so that what follows is a warm start
    began = time.perf_counter()
    with Model(prepare(job["path"], **settings(job)), threads=job["threads"]) as model:
        load_s = time.perf_counter() - began
        generate(model, job, 99)
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
        predict = predictor(model, job)
        before, prefill, decode = predict(), [], []
        for turn in range(job["turns"]):
            read, drawn = generate(model, job, turn)
            after = predict()
            prefill.append((mean((before.prefill_tokens_per_s, after.prefill_tokens_per_s)), read))
            decode.append((mean((before.decode_tokens_per_s, after.decode_tokens_per_s)), drawn))
            before = after
    load = os.getloadavg()[0]
    return {"peak_bytes": peak, "load_s": load_s, "prefill": prefill, "decode": decode, "machine_load": load}


def predictor(model: Any, job: dict[str, Any]) -> Any:
    """A function that probes the kernels and says what a plan would say of speed."""
    from llmos.api.kernels import measure_kernels
    from llmos.api.operations import operations
    from llmos.api.roofs import measure_roofs
    from llmos.compiler import TARGETS, Options, build_graph
    from llmos.plan import pace

    spec = model._prepared.spec
    work = operations(build_graph(spec, Options(weights=job["weights"], kv=job["kv"])))
    roofs = measure_roofs(threads=job["threads"])
    formats = {name: job[name] for name in ("weights", "kv", "threads", "batch")}
    sizes = {"prompt": job["prompt"], "context": job["prompt"] + job["tokens"], "batch": job["batch"]}
    target = TARGETS[roofs.target]
    return lambda: pace(work, roofs, measure_kernels(target, **formats), **sizes, vocab=spec.vocab)


def generate(model: Any, job: dict[str, Any], turn: int) -> tuple[float, float]:
    """Tokens per second of reading all prompts, and of filling all contexts after that."""
    from llmos.runtime import Request

    engine = model._engine
    engine.drafter = None  # what is predicted is a token a step
    sequences = []
    for i in range(job["batch"]):
        seed = turn * job["batch"] + i
        ids = tuple(3 + (at * 7919 + seed * 104729) % 8000 for at in range(job["prompt"]))
        sequences.append(engine.submit(Request(ids=ids, max_tokens=job["tokens"])))
    began = time.perf_counter()
    while any(not s.generated for s in sequences):
        engine.step()
    read = time.perf_counter()
    before = sum(len(s.generated) for s in sequences)
    while engine.step():
        pass
    ended = time.perf_counter()
    drawn = sum(len(s.generated) for s in sequences) - before
    return job["batch"] * job["prompt"] / (read - began), drawn / (ended - read)


def line(row: dict[str, Any]) -> str:
    name = (
        f"{row['model']} {row['weights']}/{row['kv']} x{row['batch']} {row['prompt']}+{row['tokens']} t{row['threads']}"
    )
    peaks = [row[side]["peak_bytes"] / 2**20 for side in ("planned", "measured")]
    cells = [f"{peaks[0]:.0f}/{peaks[1]:.0f} MiB {row['ratios']['memory']:.2f}"]
    for what in ("prefill", "decode"):
        predicted, measured = (median(column) for column in zip(*row["measured"][what], strict=True))
        cells.append(f"{predicted:.0f}/{measured:.0f} {row['ratios'][what]:.2f}")
    load = row["measured"]["machine_load"]
    return f"{name:<44}{cells[0]:>20}{cells[1]:>22}{cells[2]:>22}   {load:.1f}{'' if row['kept'] else '  missed'}"


if __name__ == "__main__":
    main()
