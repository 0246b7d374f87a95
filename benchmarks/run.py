"""`make bench`: LLMOS beside its peers on this machine, in turn, in one call; besides start-up, compile and load times and steps.

Everybody gets two threads, huge pages and the own fastest format at about the same bits. Every measurement is a process of its
own; `--prefix` names a command to start each under, where a machine is shared. One question is a matter of a minute:

    python benchmarks/run.py --parts speed --rows decode32 --models A --formats int4 --peers llama.cpp --turns 3

Peers live in interpreters of their own: `--peer NAME=PYTHON`, or LLMOS_BENCH_PEERS with commas between several; without, the
interpreter of this run is asked. One that is missing is named, with how to install it. A row is void where the ratios of its
turns spread by more than 15 % (distance of the quartiles over the median). JSON goes
to stdout; `--page` writes docs/benchmarks.md.
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
from typing import Any

from checkout import commit
from contenders import PEERS, WEIGHTS, Runner, ours, pythons_from, words
from page import DOCS, merged, write_page
from same_bits import same_bits
from shapes import SHAPES, write_folder
from speed import ROWS, Comparison, rows_named

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PARTS = ("machine", "startup", "compile", "loading", "step", "speed", "same-bits")


def main() -> None:
    options = arguments()
    sys.path.insert(0, str(ROOT / "src"))
    report: dict[str, Any] = {"when": now(), "commit": commit()}
    for part in options.parts:
        print(f"measuring {part}", file=sys.stderr, flush=True)
        report[part] = measure(part, options)
    print(json.dumps(report, indent=2))
    if options.page:
        known = DOCS / "benchmarks.json"
        old = json.loads(known.read_text(encoding="utf-8")) if options.add and known.exists() else {}
        write_page(merged(old, report))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=listed, default=PARTS, help=f"of {','.join(PARTS)} [all]")
    parser.add_argument("--rows", type=listed, default=tuple(ROWS), help=f"or beginnings of {','.join(ROWS)} [all]")
    parser.add_argument(
        "--models", type=listed, default=tuple(SHAPES), help="A: Qwen2.5-0.5B, B: TinyLlama-1.1B [both]"
    )
    parser.add_argument("--formats", type=listed, default=WEIGHTS, help=f"of {','.join(WEIGHTS)} [all]")
    parser.add_argument("--peers", type=listed, default=tuple(PEERS), help=f"of {','.join(PEERS)} [all]")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help="interpreter of a peer")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another LLMOS that takes part as a peer")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--retries", type=int, default=2, help="times that void rows are measured again")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefix", type=words, default=[], metavar="COMMAND", help="start each measurement under it")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".work" / "bench", help="keep models and conversions here"
    )
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks.md, its charts and its JSON")
    parser.add_argument(
        "--add", action="store_true", help="keep what docs/benchmarks.json has and this run does not measure"
    )
    return parser.parse_args()


def listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def measure(part: str, options: argparse.Namespace) -> Any:
    if part == "machine":
        return machine(options)
    if part == "speed":
        return speed(options)
    if part == "same-bits":
        from llmos.core.env import environment

        return same_bits(runner_of(options), environment().test_data)
    if part in ("loading", "step"):
        script = [sys.executable, str(HERE / {"loading": "load.py", "step": "step.py"}[part])]
        done = subprocess.run([*script, "--folder", str(options.folder)], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)
    from startup import compile_times, first_token_times

    return first_token_times() if part == "startup" else compile_times()


def machine(options: argparse.Namespace) -> dict[str, Any]:
    from llmos.hardware import memory, model_name, topology

    facts = {"processor": model_name(), "topology": asdict(topology()), "memory": asdict(memory())}
    return facts | {"roofs": limits(options)}


def limits(options: argparse.Namespace) -> dict[str, Any]:
    """The machine's limits at this moment, measured in a child under the prefix."""
    command = [*options.prefix, sys.executable, str(HERE / "limits.py"), str(options.threads)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=variables)
    return json.loads(done.stdout.splitlines()[-1])


def speed(options: argparse.Namespace) -> dict[str, Any]:
    from llmos.api.roofs import build_probe
    from llmos.compiler import chosen_target

    runner = runner_of(options)
    contenders = [ours(ROOT), *([ours(options.before, "before")] if options.before else [])]
    contenders += [peer for name, peer in PEERS.items() if name in options.peers]
    versions = {contender.name: runner.version(contender) for contender in contenders}
    for name, told in versions.items():
        if "missing" in told:
            print(f"{name} is not measured: {told['missing']}; {told['install']}", file=sys.stderr, flush=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as fresh:
        comparison = Comparison(
            runner=runner,
            contenders=[contender for contender in contenders if "missing" not in versions[contender.name]],
            folder=options.folder,
            fresh=Path(fresh),
            probe=build_probe(chosen_target(None)),
            limits=lambda: limits(options),
            turns=options.turns,
            retries=options.retries,
        )
        return {"versions": versions, "rows": list(rows(comparison, options))}


def runner_of(options: argparse.Namespace) -> Runner:
    from llmos.core.env import environment

    pythons = pythons_from([*filter(None, [environment().bench_peers]), *options.peer])
    return Runner(pythons=pythons, prefix=options.prefix, threads=options.threads)


def rows(comparison: Comparison, options: argparse.Namespace) -> Any:
    about = {"when": now(), "commit": commit()}
    for shape in options.models:
        if not (options.folder / shape / "config.json").exists():
            write_folder(options.folder / shape, SHAPES[shape])
        for weights in options.formats:
            for row in comparison.rows(shape, weights, rows_named(options.rows)):
                yield row | about


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    main()
