"""docs/benchmarks.md, its charts, and docs/benchmarks.json, from which they are made: `python benchmarks/page.py` does it again."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from aims import FULL, aims, ratio_aim
from checkout import same_code
from contenders import PEERS
from plots import bars

__all__ = ["merged", "write_page"]

DOCS = Path(__file__).resolve().parents[1] / "docs"
_SHAPES = {"A": "the shape of Qwen2.5-0.5B", "B": "the shape of TinyLlama-1.1B"}
_CHARTS = {
    "decode": ("Decoding one sequence after 32 and 2048 tokens", ("decode32", "decode2048")),
    "prefill": ("Reading prompts of 512 and 2048 tokens", ("prefill512", "prefill2048")),
    "together": ("Decoding 8 and 16 sequences together, tokens of all", ("batch8", "batch16")),
}
_UNITS = {"load": (1, "s"), "memory": (2**-20, "MiB")}
_WHAT = {
    "decode32": "decode after 32, tokens/s",
    "decode2048": "decode after 2048, tokens/s",
    "prefill512": "prefill of 512, tokens/s",
    "prefill2048": "prefill of 2048, tokens/s",
    "batch8": "8 sequences, tokens/s",
    "batch16": "16 sequences, tokens/s",
    "load": "load to first token, s",
    "memory": "memory above the libraries, MiB",
}
_INTRODUCTION = """# Benchmarks

LLMOS beside its peers on one machine, measured by `make bench BENCH_ARGS=--page`, which writes this page and
`docs/benchmarks.json`. Models have random weights in the shapes of Qwen2.5-0.5B (A, without biases) and TinyLlama-1.1B (B).

* Everybody gets two threads, huge pages (`GLIBC_TUNABLES=glibc.malloc.hugetlb=1`) and the own fastest format at about the same bits.
* Every measurement is a process of its own; sides take turns, and each turn begins with another side. A figure is the median of the
  turns (smallest to largest), a ratio the median of the ratios turn by turn. A full run has nine turns; rows with fewer are
  provisional.
* A row is void, and measured again, where its ratios spread by more than 15 %: the distance of the quartiles over the median. A void
  cell still says what was seen; it is no result.
* Each row names the commit that was measured: `git log COMMIT.. -- src` says what has changed since.
* *Share*, in per cent: of decoding, the bytes of weights and context that a token needs, over what two threads read from memory just
  before and after, LLMOS from the very arena that holds its weights, peers from huge pages beside theirs. Of prefill, the time
  that the layers need at the int8 peak (bf16: at its own) and attention at the bf16 peak, over the time that was taken.
* A ratio is bold where it reaches what is aimed at: decoding 2.0 times llama.cpp and 1.8 times the others (after 2048 tokens 2.0
  times everybody), prefill and several sequences 3.0 times llama.cpp and 1.4 times OpenVINO (prefill in bf16 1.15 times).

One question takes a minute: `make bench BENCH_ARGS="--parts speed --rows decode32 --models A --formats int4 --turns 3"`, and
`--before CHECKOUT` lets another checkout of LLMOS take its turns as a peer. The steps that led here, and what did not help, are in the
[log](log.md).
"""


def write_page(report: dict[str, Any], docs: Path = DOCS, current: Callable[[str], bool] = same_code) -> None:
    """current: whether the code is still that of a commit."""
    report = report | {"aims": aims(report)}
    (docs / "benchmarks.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    parts = [_INTRODUCTION, *_moved_on(report, current), *_aimed_at(report), *_taking_part(report), *_machine(report)]
    for name, (title, whats) in _CHARTS.items():
        parts += _charts(report, docs, name, title, whats)
    for shape in _SHAPES:
        parts += _tables(report, shape)
    parts += [*_same_bits(report), *_starting(report)]
    (docs / "benchmarks.md").write_text("\n".join(parts), encoding="utf-8")


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The new report, with rows and parts of the old one that it does not have."""
    out = old | new
    if "speed" in old and "speed" in new:
        rows = {_key(row): row for row in [*old["speed"]["rows"], *new["speed"]["rows"]]}
        known = new["speed"]["versions"]
        out["speed"] = {"versions": old["speed"]["versions"] | known, "rows": list(rows.values())}
    return out


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["shape"], row["weights"], row["what"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _moved_on(report: dict[str, Any], current: Callable[[str], bool]) -> list[str]:
    """Which rows are of code that has changed since."""
    rows = report.get("speed", {}).get("rows", [])
    commits = dict.fromkeys(str(row.get("commit")) for row in rows)
    old = {commit: sum(str(row.get("commit")) == commit for row in rows) for commit in commits if not current(commit)}
    if not old:
        return []
    of = ", ".join(f"{n} of `{commit}`" for commit, n in old.items())
    return [f"**The code has moved on** since {sum(old.values())} of the {len(rows)} rows were measured: {of}.\n"]


def _aimed_at(report: dict[str, Any]) -> list[str]:
    lines = []
    for line in report["aims"]:
        aim = "; ".join(part["aim"] for part in line["parts"])
        told = [f"{part['measured'] or '?'}: {part['verdict']}" for part in line["parts"]]
        few = "" if line["turns"] is None else f"{line['turns']} turns{', provisional' * (line['turns'] < FULL)}"
        of = ", ".join(filter(None, [few, *(f"`{commit}`" for commit in line["commits"])]))
        seen = any(part["measured"] for part in line["parts"])
        about = ["; ".join(told) if seen else "", f"**{line['verdict']}**", of if seen else ""]
        lines.append([line["what"], aim, *about])
    about = (
        "Every aim of the project for speed, and what the measurements of this page say of it. A line is met where all of its aims "
        "are. Of each peer the fastest format counts, and of peers only those that were measured. A share is that of the tables "
        "below; one that spread by more than 15 % is void as a ratio is. Of the embedded model the worst of all thread counts and contexts counts.\n"
    )
    return ["## What is aimed at\n", about, table(["what", "aim", "measured", "verdict", "of"], lines)]


def _taking_part(report: dict[str, Any]) -> list[str]:
    """Who is here in which version, who is not, and how to install each."""
    versions = report.get("speed", {}).get("versions", {})
    lines = []
    for name in dict.fromkeys(["LLMOS", *PEERS]):
        told = versions.get(name, {"missing": "not asked for"})
        version = f"**missing** ({told['missing']})" if "missing" in told else "; ".join(told.values())
        peer = PEERS.get(name)
        formats = ", ".join(f for all in peer.formats.values() for f in all) if peer else "int4, int8, bf16"
        lines.append(
            [
                name,
                version,
                formats,
                peer.settings if peer else "a compiled bundle",
                f"`{peer.install}`" if peer else "",
            ]
        )
    return ["## Taking part\n", table(["name", "version", "formats", "settings", "to install"], lines)]


def _machine(report: dict[str, Any]) -> list[str]:
    rows = report.get("speed", {}).get("rows", [])
    limits = [row["limits"] for row in rows]
    if not limits:
        return []
    units = {"read_bytes_per_s": "read from memory, GB/s", "int8_ops_per_s": "int8, GOP/s"}
    units |= {"bf16_ops_per_s": "bf16, GFLOP/s", "float32_ops_per_s": "float32, GFLOP/s"}
    lines = []
    for name, what in units.items():
        values = [limit[name] / 1e9 for limit in limits]
        lines.append([what, f"{median(values):.0f}", f"{min(values):.0f}", f"{max(values):.0f}"])
    processor = report.get("machine", {}).get("processor", "")
    about = f"{processor}{', ' if processor else ''}two threads, measured before every group of rows. The memory of a virtual machine is shared with its neighbours."
    return ["## Limits of the machine\n", about + "\n", table(["what", "median", "least", "most"], lines)]


def _charts(report: dict[str, Any], docs: Path, name: str, title: str, whats: Sequence[str]) -> list[str]:
    rows = [row for row in report.get("speed", {}).get("rows", []) if row["what"] in whats]
    if not rows:
        return []
    groups = {}
    for row in sorted(rows, key=_key):
        values: dict[str, float | None] = dict.fromkeys(["LLMOS", *PEERS])  # the same colours in every chart
        for label, side in row["sides"].items():
            who = next((peer for peer in PEERS if label.startswith(peer)), label)
            values[who] = max(values.get(who) or 0.0, side.get("median", 0.0)) or None
        groups[f"{row['shape']} {row['weights']}, {row['what'].lstrip('abcdefghijklmnopqrstuvwxyz')}"] = values
    folder = docs / "charts"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.svg").write_text(bars(title, groups, "tokens per second"), encoding="utf-8")
    alike = "The fastest format of each side; bars of rows that the tables call void are drawn too.\n"
    return [f"## {title}\n", alike, f"![{title}: tokens per second of every side](charts/{name}.svg)\n"]


def _tables(report: dict[str, Any], shape: str) -> list[str]:
    out, absent = [], []
    for weights in ("int4", "int8", "bf16"):
        rows = [r for r in report.get("speed", {}).get("rows", []) if (r["shape"], r["weights"]) == (shape, weights)]
        missing = [what for what in _WHAT if what not in {row["what"] for row in rows}]
        if missing:
            absent.append(f"{weights} {'all' if not rows else ', '.join(missing)}")
        if not rows:
            continue
        labels = list(dict.fromkeys([*(label for row in rows for label in row["sides"]), *_labels(weights)]))
        sizes = {label: f"{side['file_bytes'] / 1e6:.0f}" for row in rows for label, side in row["sides"].items()}
        lines = [["file, MB", *(sizes.get(label, "") for label in labels), ""]]
        order = list(_WHAT)
        for row in sorted(rows, key=lambda row: order.index(row["what"])):
            turns = max(side.get("turns", 0) for side in row["sides"].values())
            about = f"{turns} turns, {row['when'][:10]}, `{row.get('commit')}`"
            lines.append([_WHAT[row["what"]], *(_cell(row, label) for label in labels), about])
        out.append(table([weights, *labels, "measured"], lines))
    told = [f"Not measured yet: {'; '.join(absent)}.\n"] if absent else []
    return [f"## {shape}: {_SHAPES[shape]}\n", *out, *told]


def _labels(weights: str) -> list[str]:
    return [f"{peer.name} {format}" for peer in PEERS.values() for format in peer.formats.get(weights, ())]


def _cell(row: dict[str, Any], label: str) -> str:
    side = row["sides"].get(label)
    if side is None:
        return "not measured"
    if "failed" in side:
        return "failed"
    factor, _ = _UNITS.get(row["what"], (1, ""))
    low, middle, high = (
        f"{side[name] * factor:.3g}" if side[name] * factor < 1000 else f"{side[name] * factor:.0f}"
        for name in ("min", "median", "max")
    )
    text = f"{middle} ({low}–{high})" + (f", {side['share']['median']:.0%}" if "share" in side else "")
    ratio = row["ratios"].get(label)
    return text if ratio is None else f"{text}: {_ratio(row, label, ratio)}"


def _ratio(row: dict[str, Any], label: str, ratio: dict[str, Any]) -> str:
    aim = ratio_aim(row["what"], row["weights"], label)
    if ratio["void"]:
        return f"void (×{ratio['median']:.2f}, spread {ratio['spread']:.0%})"
    text = f"×{ratio['median']:.2f}"
    return f"**{text}**" if aim and ratio["median"] >= aim else text


def _same_bits(report: dict[str, Any]) -> list[str]:
    found = report.get("same-bits")
    if not found:
        return []
    head = "## The same bits\n"
    if "missing" in found:
        return [head, f"Not measured: {found['missing']}.\n"]
    about = (
        f"What fewer bits do to a trained model, `{found['model']}`, against its float32 on {found['tokens']} tokens of a held-out "
        "book, so that nobody wins by coarser weights. Bits are those of all that is stored for the weights, over their number. Each "
        "side runs as it does by default: keys and values in bf16 here and in float16 there. Q4_0 and the K types of llama.cpp keep the "
        "embedding, which is a quarter of this small model and its head too, in more bits; *pure* does not.\n"
    )
    lines = [
        [
            f"{row['side']} {row['format']}",
            f"{row['bits']:.2f}",
            f"{row['mean_kl']:.2g}",
            f"{row['agreement']:.2%}",
            f"{row['perplexity_rise']:+.2%}",
        ]
        for row in sorted(found["rows"], key=lambda row: -row["bits"])
    ]
    if not any(row["side"] != "LLMOS" for row in found["rows"]):
        about += "\nllama.cpp was **missing** and is not in the table.\n"
    return [head, about, table(["format", "bits", "mean KL", "same first choice", "perplexity"], lines)]


def _starting(report: dict[str, Any]) -> list[str]:
    out = []
    if "startup" in report:
        lines = [
            [name.replace("_", " "), *(f"{times[key]:.3f}" for key in ("median_s", "min_s", "max_s"))]
            for name, times in report["startup"].items()
        ]
        out += ["## Start to first text\n", table(["command, warm", "median s", "least", "most"], lines)]
    if "compile" in report:
        lines = [
            [name, weights, f"{seconds:.1f}"]
            for name, times in report["compile"].items()
            for weights, seconds in times.items()
        ]
        out += ["## Compiling\n", table(["model", "weights", "seconds, toolchain warm"], lines)]
    return out + _loading(report.get("loading")) + _steps(report.get("step"))


def _loading(found: dict[str, Any] | None) -> list[str]:
    """From a cached image to the first token, and what compiling takes anew and from the cache."""
    if not found:
        return []
    lines = []
    for mode in ("fast", "mapped"):
        one = found["loading"][mode]
        seconds = [one[name]["median"] for name in ("loaded_s", "first_token_s", "fresh_process_s")]
        more = one["above_weights_and_kv"] / 2**20
        mapped = one["mapped_bytes_above"] / 2**20
        lines.append([mode, *(f"{s:.3f}" for s in seconds), f"{more:.1f}", f"{mapped:.0f}"])
    about = (
        "B in int4, packed before, pages of the file in the cache of the system. Memory above interpreter, libraries, tokenizer, packed "
        "weights (of `fast`), keys and values. Aimed at: 0.35 s to the first token in a running process, 20 MiB.\n"
    )
    head = ["memory", "loaded, s", "first token, s", "in a fresh process, s", "own MiB more", "mapped MiB"]
    made = found["compiling"]
    compiled = (
        f"Code of A in int4 is made in {made['new_s']:.1f} s ({made['deep_s']:.1f} s with four times the layers), and found in the "
        f"cache in {made['cached_s']:.3f} s.\n"
    )
    return ["## Loading\n", about, table(head, lines), compiled]


def _steps(found: dict[str, Any] | None) -> list[str]:
    """What a step costs besides its native call, and what a second thread gains."""
    if not found:
        return []
    lines = [
        [
            f"{row['threads']} thread{'s' * (row['threads'] > 1)}, after {row['context']}",
            *(f"{row[key]:.0f}" for key in ("step_us", "native_us", "outside_us")),
        ]
        + [f"{row['first_token_ms']:.1f}"]
        for row in found["llmos-mini"]
    ]
    head = ["llmos-mini", "step, µs", "native call, µs", "outside of it, µs", "first token, ms"]
    gains = [
        [
            row["weights"],
            *(
                f"×{row[what]['median']:.2f} ({row[what]['min']:.2f}–{row[what]['max']:.2f})"
                for what in ("prefill", "decode")
            ),
        ]
        for row in found["two threads"]
    ]
    about = "Speed of A with two threads over that with one, in turn in one process.\n"
    return [
        "## Steps and threads\n",
        table(head, lines),
        about,
        table(["weights", "prompt of 256", "single tokens"], gains),
    ]


if __name__ == "__main__":
    write_page(json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8")))
