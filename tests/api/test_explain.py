"""What `compile --explain` predicts, against roofs that are given: each number is derived again by hand."""

import re

import pytest

import llm
from llmos.api.costs import decode_costs, prefill_seconds
from llmos.api.explain import explain_graph
from llmos.api.roofs import Roofs
from llmos.compiler import Options, build_graph, layout
from llmos.models import spec_from_config

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_hidden_layers": 3,
    "intermediate_size": 96,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "vocab_size": 160,
    "max_position_embeddings": 1024,
}
PEAKS = {"float32_ops_per_s": 1e9, "bf16_ops_per_s": 2e9, "int8_ops_per_s": 8e9}
SLOW_MEMORY = Roofs(target="portable", threads=1, read_bytes_per_s=1e6, **PEAKS)
FAST_MEMORY = Roofs(target="portable", threads=2, read_bytes_per_s=1e15, **PEAKS)


def graph(weights: str, kv: str = "float32", **changes):
    return build_graph(spec_from_config(CONFIG | changes), Options(weights=weights, kv=kv))


@pytest.mark.parametrize("weights", ["float32", "float16", "bf16", "int8", "int4", "uint4"])
def test_decode_reads_every_weight_once_and_the_keys_and_values_before_it(weights: str):
    made = graph(weights)
    read = sum(cost.times * cost.n_bytes for cost in decode_costs(made, 10))
    sections = sum(section.n_bytes for section in layout(made) if section.name != "embed")
    stored = 3 * 2 * 10 * 2 * 16 * 4
    assert read == sections + stored


@pytest.mark.parametrize(
    ("kv", "token"),
    [("float32", 4 * (12 + 16)), ("float16", 2 * (12 + 16)), ("bf16", 2 * (12 + 16)), ("int8", 12 + 16 + 8)],
)
def test_a_stored_token_counts_as_it_lies_in_its_page_with_padding_and_scales(kv: str, token: int):
    costs = decode_costs(graph("bf16", kv, head_dim=12), 10)
    assert [cost.n_bytes for cost in costs if cost.node.op == "append_attend"] == [10 * 2 * token]


def test_decode_multiplies_every_weight_once():
    matrices = 3 * (64 * (64 + 2 * 32) + 64 * 64 + 3 * 64 * 96) + 160 * 64
    products = sum(c.times * c.operations for c in decode_costs(graph("int8"), 1) if "linear" in c.node.op)
    assert products == 2 * matrices


@pytest.mark.parametrize("weights", ["float32", "float16", "bf16", "int8", "int4", "uint4"])
def test_an_operation_takes_the_longer_of_its_bytes_and_its_arithmetic(weights: str):
    costs = {(cost.block, cost.node.params): cost for cost in decode_costs(graph(weights), 1)}
    gate = costs["kind0", ("gate_up",)]
    assert gate.bound(SLOW_MEMORY) == "memory"
    assert gate.seconds(SLOW_MEMORY) == pytest.approx(3 * gate.n_bytes / 1e6)
    assert gate.bound(FAST_MEMORY) == "compute"
    peak = {"float32": 1e9, "float16": 1e9, "bf16": 2e9}.get(weights, 8e9)
    assert gate.seconds(FAST_MEMORY) == pytest.approx(3 * 2 * 2 * 96 * 64 / peak)


def test_prefill_reads_the_weights_once_and_computes_scores_once():
    made = graph("int8")
    costs = decode_costs(made, 300)
    weights_s = sum(cost.times * cost.memory_s(SLOW_MEMORY) for cost in costs)
    assert prefill_seconds(made, SLOW_MEMORY, 599) == pytest.approx(weights_s, rel=0.01)
    rows = [(599 if cost.node.rows == "T" else 1) * cost.seconds(FAST_MEMORY) for cost in costs]
    assert prefill_seconds(made, FAST_MEMORY, 599) == pytest.approx(sum(rows), rel=1e-6)
    assert {cost.node.rows for cost in costs} == {"T", "O"}


@pytest.mark.parametrize("roofs", [SLOW_MEMORY, FAST_MEMORY], ids=["memory", "compute"])
def test_the_table_adds_up(roofs: Roofs):
    text = str(explain_graph(graph("bf16"), roofs, context=1024)).split("\n\n")[0]
    rows = re.findall(r"([\d.]+) +([\d.]+)% (?:memory|compute)$", text, flags=re.MULTILINE)
    total = re.search(r"decode after 512 tokens: .* predicted ([\d.]+) ms per token, (\d+) tokens/s", text)
    assert sum(float(ms) for ms, _ in rows) == pytest.approx(float(total[1]), abs=1e-4 * len(rows))
    assert sum(float(share) for _, share in rows) == pytest.approx(100, abs=0.05 * len(rows))
    assert int(total[2]) == pytest.approx(1000 / float(total[1]), rel=0.05, abs=1)


def test_the_table_fits_eighty_columns_and_says_what_was_not_run():
    text = str(explain_graph(graph("bf16"), FAST_MEMORY, context=1024, unmeasured="no time"))
    tables = [line for line in text.splitlines() if line.startswith(("  ", "operation"))]
    assert max(map(len, tables)) <= 80
    assert "prefill of 512 tokens: " in text
    assert "not measured: no time" in text


def test_an_encoder_is_explained_by_a_text():
    made = build_graph(spec_from_config({"model_type": "bert", "num_hidden_layers": 2}), Options())
    text = str(explain_graph(made, FAST_MEMORY, context=512))
    assert "decode" not in text
    assert re.search("a text of 511 tokens: .* predicted", text)
    costs = decode_costs(made, 511)  # every token attends to all
    assert prefill_seconds(made, FAST_MEMORY, 511) == pytest.approx(511 * sum(c.seconds(FAST_MEMORY) for c in costs))


def test_a_short_context_is_explained_for_what_it_holds():
    assert "decode after 1 tokens" in str(explain_graph(graph("float32"), SLOW_MEMORY, context=2))
    assert "prefill" not in str(explain_graph(graph("float32"), SLOW_MEMORY, context=1))


@pytest.mark.toolchain
def test_compile_explains_against_the_roofs_that_it_is_given(tmp_path):
    made = llm.compile("llmos-mini", tmp_path / "x.llm", weights="int8", explain=True, roofs=SLOW_MEMORY)
    text = str(made)
    assert text == str(made.explanation)
    assert "roofs of portable with 1 thread: memory 0.0 GB/s; GOP/s: float32 1, bf16 2, int8 8" in text
    assert "not measured: the roofs are of portable" in text
    assert llm.compile("llmos-mini", tmp_path / "x.llm", weights="int8", roofs=SLOW_MEMORY).explanation is None


@pytest.mark.toolchain
def test_roofs_are_measured_when_none_are_given_and_every_operation_is(tmp_path):
    said: list[str] = []
    made = llm.compile("llmos-mini", tmp_path / "x.llm", weights="int8", explain=True, progress=said.append)
    assert re.search(r"memory [\d.]+ GB/s", str(made))
    assert said.index("measuring memory bandwidth") < said.index("measuring every operation")
    for step in made.explanation.steps:
        assert all(line.measured_s is not None and line.measured_s >= 0 for line in step.lines)
        assert 0 < step.measured_s < step.noted_s  # parts of one and the same runs; the rest is Python
        products = [line for line in step.lines if "linear" in line.op]
        assert min(line.measured_s for line in products) > 0
        assert {line.code.instructions for line in products if line.code.portable} <= {"plain integers", "NEON smull"}
