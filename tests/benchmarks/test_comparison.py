"""The benchmark's own arithmetic, and one comparison that really runs, on a model too small to mean anything."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import aims  # noqa: E402
import checkout  # noqa: E402
import page  # noqa: E402
import plots  # noqa: E402
import shapes  # noqa: E402
import speed  # noqa: E402
import turns  # noqa: E402
import work  # noqa: E402


def side(*values: float) -> dict:
    return {"values": list(values), "file_bytes": 10**8} | turns.summary(values)


def row(ours: dict, theirs: dict, what: str = "decode32") -> dict:
    sides = {"LLMOS": ours, "llama.cpp Q8_0": theirs}
    limits = {f"{name}_ops_per_s": 1e12 for name in ("int8", "bf16", "float32")} | {"read_bytes_per_s": 5e10}
    out = {"what": what, "shape": "A", "weights": "int8", "sides": sides, "limits": limits, "when": "2026-01-01T00"}
    return out | {"commit": "abc", "ratios": speed._ratios(speed.ROWS[what], sides)}


def test_ratios_are_of_turns_so_that_a_slow_minute_of_both_is_no_disturbance():
    ratio = row(side(100, 50, 100), side(50, 25, 50))["ratios"]["llama.cpp Q8_0"]
    assert (ratio["median"], ratio["spread"], ratio["void"]) == (2, 0, False)


def test_a_row_whose_ratios_spread_is_void():
    ratio = row(side(100, 100, 100, 100), side(50, 100, 50, 100))["ratios"]["llama.cpp Q8_0"]
    assert ratio["void"] and ratio["spread"] > turns.WITHIN


def test_of_seconds_the_smaller_are_better():
    assert row(side(1), side(3), "load")["ratios"]["llama.cpp Q8_0"]["median"] == 3


def test_every_turn_begins_with_another_side_and_a_side_that_fails_is_asked_once():
    order = []
    sides = {name: lambda name=name: order.append(name) or {} for name in "abc"}
    sides["b"] = lambda: order.append("b") or {"failed": "why"}
    turns.take_turns(sides, 3)
    assert order == ["a", "b", "c", "c", "a", "c", "a"]


def test_bytes_of_a_token_are_the_file_and_the_context_without_a_table_that_is_not_the_head():
    kv = 2 * 24 * 2 * 64 * 2
    assert work.bytes_per_token("A", 1000, 10) == 1000 + 10 * kv
    sizes = {name: int(np.prod(size)) for name, size in shapes.tensors(shapes.B).items()}
    table = sizes["model.embed_tokens.weight"] / sum(sizes.values())
    assert work.bytes_per_token("B", 1000, 0) == pytest.approx(1000 * (1 - table))


def test_the_roof_of_prefill_counts_layers_attention_and_one_head():
    layers = 24 * (2 * 896 * 896 + 2 * 896 * 128 + 3 * 896 * 4864)
    expected = 2 * (layers * 100 + 151936 * 896) / 1e12 + 4 * 24 * 896 * 100**2 / 2 / 1e11
    assert work.prefill_roof_s("A", 100, 1e12, 1e11) == pytest.approx(expected)


def test_the_page_names_missing_peers_and_how_to_install_them(tmp_path: Path):
    versions = {"llama.cpp": {"version": "1"}, "OpenVINO": {"missing": "No module named 'openvino'"}}
    page.write_page({"speed": {"versions": versions, "rows": [row(side(100), side(40))]}}, tmp_path)
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "| OpenVINO | **missing** (No module named 'openvino') |" in text
    assert "pip install openvino-genai" in text
    assert "**×2.50**" in text


def test_void_rows_stand_on_the_page_as_void(tmp_path: Path):
    rows = [row(side(100, 100, 100, 100), side(50, 100, 50, 100))]
    page.write_page({"speed": {"versions": {}, "rows": rows}}, tmp_path)
    assert "void (×1.50, spread" in (tmp_path / "benchmarks.md").read_text(encoding="utf-8")


def verdicts(report: dict, what: str) -> list[str]:
    line = next(line for line in aims.aims(report) if line["what"] == what)
    return [line["verdict"], *(part["verdict"] for part in line["parts"])]


def shared(share: float, *values: float) -> dict:
    return side(*values) | {"share": turns.summary([share] * len(values))}


def test_an_aim_is_met_by_its_share_or_by_its_ratios_and_in_any_case_by_the_lower_share():
    def asked(share: float, ours: float) -> list[str]:
        rows = [row(shared(share, ours, ours), side(10, 10))]
        return verdicts({"speed": {"rows": rows}}, "A int8, decoding after 32 tokens")

    assert asked(0.86, 11) == ["met", "met", "met"]
    assert asked(0.81, 20) == ["met", "met", "met"]
    assert asked(0.81, 19) == ["not met", "not met", "met"]
    assert asked(0.79, 20) == ["not met", "met", "not met"]


def test_an_aim_for_a_peer_that_was_not_measured_is_not_met_and_not_missed():
    rows = [row(shared(0.7, 30, 30), side(10, 10), "prefill512")]
    found = verdicts({"speed": {"rows": rows}}, "A int8, prompt of 512")
    assert found == ["not measured", "met", "not measured", "met"]


def test_figures_that_spread_decide_nothing():
    rows = [row(shared(0.5, 30, 30), side(10, 10)) | {"ratios": {}}]
    rows[0]["sides"]["LLMOS"]["share"] = turns.summary([0.5, 0.9])
    assert verdicts({"speed": {"rows": rows}}, "A int8, decoding after 32 tokens") == ["void", "void", "void"]


def test_a_context_of_2048_is_compared_with_one_of_32():
    for long, expected in ((85, "met"), (84, "not met")):
        rows = [row(side(100), side(40)), row(side(long), side(40), "decode2048")]
        found = verdicts({"speed": {"rows": rows}}, "A int8, decoding after 2048")
        assert found == [expected, expected, "met"]


def test_steps_loading_and_compiling_have_aims_too():
    steps = [{"first_token_ms": 2.0, "outside_us": 50.0}, {"first_token_ms": 9.0, "outside_us": 61.0}]
    fast = {"first_token_s": {"median": 0.35}, "above_weights_and_kv": 20_000_001}
    report = {
        "step": {"llmos-mini": steps},
        "loading": {"loading": {"fast": fast}, "compiling": {"new_s": 4.5, "cached_s": 0.3, "deep_s": 4.6}},
    }
    assert verdicts(report, "llmos-mini") == ["not met", "met", "not met"]
    assert verdicts(report, "B int4, fast, cached: load to first token") == ["met", "met"]
    assert verdicts(report, "the same: memory above weights, keys and values") == ["not met", "not met"]
    assert verdicts(report, "A int4: compiling")[1:4] == ["met", "met", "met"]
    assert {line["verdict"] for line in aims.aims({})} == {"not measured"}


def test_the_page_says_what_is_aimed_at_and_calls_few_turns_provisional(tmp_path: Path):
    few, full = row(shared(0.9, 30), side(10)), row(shared(0.9, *[30] * 9), side(*[10] * 9)) | {"shape": "B"}
    page.write_page({"speed": {"versions": {}, "rows": [few, full]}}, tmp_path)
    lines = (tmp_path / "benchmarks.md").read_text(encoding="utf-8").splitlines()
    a, b = (next(line for line in lines if line.startswith(f"| {shape} int8, decoding after 32")) for shape in "AB")
    assert "**met**" in a and "| 1 turns, provisional, `abc` |" in a
    assert "**met**" in b and "| 9 turns, `abc` |" in b
    kept = json.loads((tmp_path / "benchmarks.json").read_text(encoding="utf-8"))["aims"]
    assert kept[1]["what"].startswith("A int8") and kept[1]["verdict"] == "met"


def test_the_page_says_of_which_rows_the_code_has_moved_on(tmp_path: Path):
    rows = [row(side(2), side(1)), row(side(2), side(1), "batch8") | {"commit": "def"}]
    report = {"speed": {"versions": {}, "rows": rows}}
    page.write_page(report, tmp_path, current=lambda commit: commit == "def")
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "**The code has moved on** since 1 of the 2 rows were measured: 1 of `abc`." in text
    assert "| 1 turns, 2026-01-01, `def` |" in text
    page.write_page(report, tmp_path, current=lambda commit: True)
    assert "moved on**" not in (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert not checkout.same_code("no such commit")


def test_a_later_run_replaces_its_own_rows_and_keeps_others():
    old = {"speed": {"versions": {"a": {}}, "rows": [row(side(1), side(1)), row(side(2), side(2), "load")]}}
    new = {"speed": {"versions": {"b": {}}, "rows": [row(side(3), side(3))]}}
    found = page.merged(old, new)["speed"]
    assert [r["sides"]["LLMOS"]["median"] for r in found["rows"]] == [3, 2]
    assert found["versions"].keys() == {"a", "b"}


def test_charts_are_well_formed_and_have_a_bar_for_each_value():
    drawn = ElementTree.fromstring(
        plots.bars("A <title>", {"x & y": {"a": 1.0, "b": None}, "z": {"a": 2.0, "b": 3.0}}, "s")
    )
    bars = [e for e in drawn if e.tag.endswith("rect") and e.get("height") == "11" and e.get("x") == "150"]
    assert [float(bar.get("width")) for bar in bars] == pytest.approx([181.3, 362.7, 544])


def test_rows_are_named_by_their_beginnings():
    assert speed.rows_named(["decode", "load"]) == ["decode32", "decode2048", "load"]


def test_a_converted_folder_gives_the_values_that_were_written(tmp_path: Path):
    tiny = shapes.A | {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1}
    tiny |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    shapes.write_folder(tmp_path / "x", tiny)
    read = dict(shapes.read_folder(tmp_path / "x"))
    assert {name: bits.shape for name, bits in read.items()} == shapes.tensors(tiny)
    assert all(np.array_equal(bits, read[name]) for name, bits in shapes.values(tiny))


@pytest.mark.toolchain
def test_a_comparison_with_itself_runs_from_the_command_line(tmp_path: Path):
    tiny = shapes.A | {"vocab_size": 20003, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1}
    tiny |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    shapes.write_folder(tmp_path / "A", tiny)
    flags = [
        "--parts",
        "speed",
        "--rows",
        "decode32,load",
        "--models",
        "A",
        "--formats",
        "int8",
        "--peers",
        "CTranslate2",
    ]
    flags += ["--peer", f"CTranslate2={tmp_path / 'none'}", "--before", str(ROOT), "--turns", "2", "--retries", "0"]
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), *flags, "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["speed"]
    assert [r["what"] for r in report["rows"]] == ["decode32", "load"]
    assert all("before" in r["ratios"] for r in report["rows"])
    assert "missing" in report["versions"]["CTranslate2"]
    assert "CTranslate2 is not measured" in done.stderr and "pip install ctranslate2" in done.stderr


@pytest.mark.toolchain
def test_steps_and_a_second_thread_are_measured_and_written_down(tmp_path: Path):
    tiny = shapes.A | {"vocab_size": 20003, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1}
    tiny |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    shapes.write_folder(tmp_path / "A", tiny)
    command = [sys.executable, str(ROOT / "benchmarks" / "step.py"), "--folder", str(tmp_path), "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(0 < row["native_us"] < row["step_us"] for row in found["llmos-mini"])
    assert [row["weights"] for row in found["two threads"]] == ["int4", "int8", "bf16"]
    assert "1 thread, after 260" in "".join(page._steps(found))
