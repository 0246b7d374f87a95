"""Rows of the comparison: what is asked of which shape in which format, of LLMOS and of every peer that is here."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from contenders import Contender, Runner
from protocol import JOBS
from turns import WITHIN, summary, take_turns
from work import bytes_per_token, prefill_roof_s

__all__ = ["ROWS", "Comparison", "Row", "rows_named"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """job: what the scripts are asked for; metric: the figure of their reports that counts; smaller: less of it is better."""

    job: str
    metric: str
    smaller: bool = False


ROWS = {
    "decode32": Row(job="short", metric="decode_tokens_per_s"),
    "decode2048": Row(job="long", metric="decode_tokens_per_s"),
    "prefill512": Row(job="prompt", metric="prefill_tokens_per_s"),
    "prefill2048": Row(job="long", metric="prefill_tokens_per_s"),
    "batch8": Row(job="eight", metric="decode_tokens_per_s"),
    "batch16": Row(job="sixteen", metric="decode_tokens_per_s"),
    "load": Row(job="load", metric="load_to_token_s", smaller=True),
    "memory": Row(job="load", metric="memory_bytes", smaller=True),
}


def rows_named(names: Sequence[str]) -> list[str]:
    """Rows whose names begin with one of the given ones."""
    return [row for row in ROWS if any(row.startswith(name) for name in names)]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The first contender is compared with all others.

    folder: where the models are kept; fresh: where files of LLMOS are, whose layout changes with its code. retries: times that
    void rows are measured again.
    """

    runner: Runner
    contenders: Sequence[Contender]
    folder: Path
    fresh: Path
    probe: Path
    limits: Callable[[], dict[str, Any]]
    turns: int
    retries: int
    sizes: dict[str, int] = field(default_factory=dict)

    def rows(self, shape: str, weights: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Measured rows, those of one job together: a run that reads 2048 tokens goes on to draw some."""
        files = self._files(shape, weights)
        jobs = dict.fromkeys(ROWS[name].job for name in names)
        for job in jobs:
            wanted = [name for name in names if ROWS[name].job == job]
            attempts, void = 0, True
            while void and attempts <= self.retries:
                rows = self._measure(shape, weights, job, wanted, files)
                void = any(ratio["void"] for row in rows for ratio in row["ratios"].values())
                attempts += 1
            yield from (row | {"attempts": attempts} for row in rows)

    def _files(self, shape: str, weights: str) -> dict[str, tuple[Contender, str, Path]]:
        """Label -> contender, its format, and its file or folder."""
        out = {}
        for contender in self.contenders:
            for format in contender.formats.get(weights, ()):
                own = contender.script == self.contenders[0].script
                label = contender.name if own else f"{contender.name} {format}"
                path = (self.fresh if own else self.folder) / f"{shape}.{contender.name}.{format}{contender.ending}"
                out[label] = contender, format, self.runner.convert(contender, shape, format, self.folder / shape, path)
                self.sizes[str(path)] = _bytes_of(path)
        return out

    def _measure(
        self, shape: str, weights: str, job: str, names: list[str], files: Mapping[str, tuple[Contender, str, Path]]
    ) -> list[dict[str, Any]]:
        sides = {
            label: partial(self.runner.measure, contender, path, format, job, self.probe)
            for label, (contender, format, path) in files.items()
        }
        limits = self.limits()
        reports = take_turns(sides, self.turns)
        out = []
        for name in names:
            row: dict[str, Any] = {"what": name, "shape": shape, "weights": weights, "limits": limits, "sides": {}}
            for label, (_, _, path) in files.items():
                row["sides"][label] = self._side(row, reports[label], self.sizes[str(path)])
            row["ratios"] = _ratios(ROWS[name], row["sides"])
            out.append(row)
            print(line(row), file=sys.stderr, flush=True)
        return out

    def _side(self, row: dict[str, Any], reports: list[dict[str, Any]], file_bytes: int) -> dict[str, Any]:
        failed = [report["failed"] for report in reports if "failed" in report]
        if failed:
            return {"failed": failed[0], "file_bytes": file_bytes}
        what = ROWS[row["what"]]
        runs = [run for report in reports for run in report.get("runs", [report])]
        values = [run[what.metric] for run in runs]
        # A turn is as good as its best repeat: what disturbs a run only makes it slower.
        per_turn = len(runs) // len(reports)
        best = min if what.smaller else max
        of_turns = [best(values[i : i + per_turn]) for i in range(0, len(values), per_turn)]
        side = {"values": of_turns, "file_bytes": file_bytes} | summary(of_turns)
        reads = [run["read_bytes_per_s"] for run in runs if "read_bytes_per_s" in run]
        if reads:
            side["read_bytes_per_s"] = summary(reads)
        shares = _shares(row, runs, file_bytes)
        return side | ({"share": summary(shares)} if shares else {})


def _shares(row: dict[str, Any], runs: list[dict[str, float]], file_bytes: int) -> list[float]:
    """Shares of what the machine allows: of the memory read beside each run, or of the peaks; none for several sequences."""
    what = ROWS[row["what"]]
    job = JOBS[what.job]
    if job.sequences > 1 or what.smaller:
        return []
    if what.metric == "decode_tokens_per_s":
        needed = bytes_per_token(row["shape"], file_bytes, job.prompt + job.tokens // 2)
        return [run[what.metric] * needed / run["read_bytes_per_s"] for run in runs]
    peaks = row["limits"]
    linear = peaks["bf16_ops_per_s" if row["weights"] == "bf16" else "int8_ops_per_s"]
    roof_s = prefill_roof_s(row["shape"], job.prompt, linear, peaks["bf16_ops_per_s"])
    return [roof_s * run[what.metric] / job.prompt for run in runs]


def _ratios(row: Row, sides: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """How many times better the first side is than each other, turn by turn."""
    first, *others = sides.items()
    out = {}
    for label, side in others:
        if "failed" in side or "failed" in first[1]:
            continue
        pairs = zip(first[1]["values"], side["values"], strict=True)
        ratio = summary([theirs / mine if row.smaller else mine / theirs for mine, theirs in pairs])
        out[label] = ratio | {"void": ratio["spread"] > WITHIN}
    return out


def line(row: dict[str, Any]) -> str:
    """A row for the eyes of whoever waits."""
    cells = []
    for label, side in row["sides"].items():
        if "failed" in side:
            cells.append(f"{label} FAILED ({side['failed']})")
            continue
        share = f" {side['share']['median']:.0%}" if "share" in side else ""
        ratio = row["ratios"].get(label)
        times = f" x{ratio['median']:.2f}{' void' if ratio['void'] else ''}" if ratio else ""
        cells.append(f"{label} {side['median']:.4g} ({side['min']:.4g}-{side['max']:.4g}){share}{times}")
    return f"{row['shape']} {row['weights']} {row['what']}: " + "; ".join(cells)


def _bytes_of(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
