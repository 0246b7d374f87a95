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
