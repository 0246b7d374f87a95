"""What is aimed at, and whether the measurements of a report reach it: from what the report holds and nothing else.

A line is one question, which may have several aims: it is met where all of them are, not met where one is not. A figure whose
turns spread too far decides nothing.
"""

from collections.abc import Iterator
from typing import Any

from turns import WITHIN

__all__ = ["FULL", "aims", "ratio_aim"]

FULL = 9  # turns; rows with fewer are provisional
MET, MISSED, VOID, UNKNOWN = "met", "not met", "void", "not measured"
_RATIOS = {  # by row and peer; "" is for all others
    "decode32": {"llama.cpp": 2.0, "": 1.8},
    "decode2048": {"": 2.0},
    "prefill": {"llama.cpp": 3.0, "OpenVINO": 1.4},
    "prefill bf16": {"OpenVINO": 1.15},
    "batch": {"llama.cpp": 3.0, "OpenVINO": 1.4},
}
_ALL, _FEW_BITS = ("int4", "int8", "bf16"), ("int4", "int8")
_QUESTIONS = {
    "decode32": ("decoding after 32 tokens", _ALL),
    "decode2048": ("decoding after 2048", _ALL),
    "prefill512": ("prompt of 512", _ALL),
    "prefill2048": ("prompt of 2048", _ALL),
    "batch8": ("8 sequences", _FEW_BITS),
    "batch16": ("16 sequences", _FEW_BITS),
}
_Part = dict[str, Any]  # aim, measured, verdict: texts


def aims(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Lines of what, parts, verdict, turns (fewest of the rows it is about, None where it is about none) and commits."""
    rows = {(row["shape"], row["weights"], row["what"]): row for row in report.get("speed", {}).get("rows", [])}
    lines = [
        _line(f"{shape} {weights}, {title}", _parts(rows, shape, weights, what), _about(rows, shape, weights, what))
        for shape in ("A", "B")
        for what, (title, formats) in _QUESTIONS.items()
        for weights in formats
    ]
    return lines + [_line(what, parts, []) for what, parts in _others(report)]


def ratio_aim(what: str, weights: str, label: str) -> float | None:
    """How many times faster than a side is aimed at."""
    by_peer = _ratios_of(what, weights)
    return next((aim for peer, aim in by_peer.items() if peer and label.startswith(peer)), by_peer.get(""))


def _ratios_of(what: str, weights: str) -> dict[str, float]:
    kind = what.rstrip("0123456789") if what.startswith(("prefill", "batch")) else what
    return _RATIOS.get(f"{kind} {weights}", _RATIOS.get(kind, {}))


def _line(what: str, parts: list[_Part], rows: list[dict[str, Any]]) -> dict[str, Any]:
    turns = [side["turns"] for row in rows for side in row["sides"].values() if "turns" in side]
    commits = list(dict.fromkeys(str(row.get("commit")) for row in rows))
    verdict = _all([part["verdict"] for part in parts])
    return {"what": what, "parts": parts, "verdict": verdict, "turns": min(turns, default=None), "commits": commits}


def _all(verdicts: list[str]) -> str:
    return next((verdict for verdict in (MISSED, UNKNOWN, VOID) if verdict in verdicts), MET)


def _any(verdicts: list[str]) -> str:
    return next((verdict for verdict in (MET, VOID, UNKNOWN) if verdict in verdicts), MISSED)


def _about(rows: dict[Any, Any], shape: str, weights: str, what: str) -> list[dict[str, Any]]:
    names = (what, "decode32") if what == "decode2048" else (what,)
    return [rows[shape, weights, name] for name in names if (shape, weights, name) in rows]


def _parts(rows: dict[Any, Any], shape: str, weights: str, what: str) -> list[_Part]:
    row = rows.get((shape, weights, what), {"what": what, "sides": {}, "ratios": {}})
    parts = [_ratio(row, peer, aim) for peer, aim in _ratios_of(what, weights).items()]
    if what == "decode32":
        return [_either(_share(row, 0.85), parts), _share(row, 0.80)]
    if what == "decode2048":
        return [_kept(rows.get((shape, weights, "decode32")), row), *parts]
    if what.startswith("prefill"):
        parts.append(_share(row, 0.75 if weights == "bf16" else 0.60))
    return parts


def _either(share: _Part, beside: list[_Part]) -> _Part:
    ratios = _all([part["verdict"] for part in beside])
    told = [part["measured"] for part in (share, *beside) if part["measured"]]
    return {
        "aim": f"{share['aim']}, or {' and '.join(part['aim'] for part in beside)}",
        "measured": "; ".join(told),
        "verdict": _any([share["verdict"], ratios]),
    }


def _ratio(row: dict[str, Any], peer: str, aim: float) -> _Part:
    """Beside a peer's fastest format, or "" beside the fastest peer."""
    told = f"×{aim:g} {peer or 'the fastest peer'}"
    found = {label: ratio for label, ratio in row["ratios"].items() if label.startswith(peer) and label != "before"}
    if not found:
        return {"aim": told, "measured": "", "verdict": UNKNOWN}
    label, ratio = min(found.items(), key=lambda item: item[1]["median"])
    return _part(told, f"×{ratio['median']:.2f} {label}", ratio["median"] >= aim, ratio["spread"])


def _share(row: dict[str, Any], aim: float) -> _Part:
    told = f"{aim:.0%} of the {'memory read' if row['what'].startswith('decode') else 'roof'}"
    share = row["sides"].get("LLMOS", {}).get("share")
    if share is None:
        return {"aim": told, "measured": "", "verdict": UNKNOWN}
    return _part(told, f"{share['median']:.0%}", share["median"] >= aim, share["spread"])


def _kept(short: dict[str, Any] | None, long: dict[str, Any]) -> _Part:
    told = "85% of the speed after 32"
    sides = [row["sides"].get("LLMOS", {}) for row in (short, long) if row]
    if len(sides) < 2 or not all("median" in side for side in sides):
        return {"aim": told, "measured": "", "verdict": UNKNOWN}
    kept = sides[1]["median"] / sides[0]["median"]
    return _part(told, f"{kept:.0%}", kept >= 0.85, max(side["spread"] for side in sides))


def _part(aim: str, measured: str, met: bool, spread: float = 0.0) -> _Part:
    if spread > WITHIN:
        return {"aim": aim, "measured": f"{measured} (spread {spread:.0%})", "verdict": VOID}
    return {"aim": aim, "measured": measured, "verdict": MET if met else MISSED}


def _others(report: dict[str, Any]) -> Iterator[tuple[str, list[_Part]]]:
    """What is not asked of peers: the embedded model's steps, loading and compiling."""
    steps = report.get("step", {}).get("llmos-mini", [])
    yield (
        "llmos-mini",
        [
            _below("first token under 50 ms", [row["first_token_ms"] for row in steps], 50, "ms"),
            _below("a step outside of the native call under 60 µs", [row["outside_us"] for row in steps], 60, "µs"),
        ],
    )
    found = report.get("loading", {})
    fast = found.get("loading", {}).get("fast", {})
    first = [fast["first_token_s"]["median"]] if fast else []
    yield "B int4, fast, cached: load to first token", [_below("at most 0.35 s", first, 0.35, "s")]
    more = [fast["above_weights_and_kv"] / 1e6] if fast else []
    yield "the same: memory above weights, keys and values", [_below("at most 20 MB", more, 20, "MB")]
    made = found.get("compiling", {})
    yield (
        "A int4: compiling",
        [
            _below("new under 10 s", [made["new_s"]] if made else [], 10, "s"),
            _below("cached under 0.3 s", [made["cached_s"]] if made else [], 0.3, "s"),
            _below(
                "four times the layers in 1.25 times that",
                [made["deep_s"] / made["new_s"]] if made else [],
                1.25,
                "times",
            ),
        ],
    )


def _below(aim: str, values: list[float], most: float, unit: str) -> _Part:
    """The largest of several counts."""
    if not values:
        return {"aim": aim, "measured": "", "verdict": UNKNOWN}
    return _part(aim, f"{max(values):.3g} {unit}", max(values) <= most)
