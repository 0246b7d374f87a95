"""The table of instructions says what the headers do: their conditions are read, and each target's choice is followed by hand."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from llmos.compiler import (
    FORMATS,
    KV_FORMATS,
    TARGETS,
    Options,
    attention_implementation,
    build_graph,
    implementation,
    product_implementation,
    row_implementation,
)
from llmos.models import spec_from_config
from llmos.native import include_dir
from tests.tiny_programs import CONFIG

# Macro of a compiler -> the feature that the table knows it by. What is new here must be told in compiler/implementations.py.
KNOWN = {
    "__AVX512F__": "avx512f",
    "__AVX512BW__": "avx512bw",
    "__AVX512VNNI__": "avx512_vnni",
    "__AVX512BF16__": "avx512_bf16",
    "__AVX2__": "avx2",
    "__FMA__": "fma",
    "__F16C__": "f16c",
    "__ARM_FEATURE_DOTPROD": "asimddp",
    "__ARM_FEATURE_FMA": "neon",
    "__aarch64__": "neon",
}


def test_the_headers_choose_by_features_that_the_table_knows():
    used = set()
    for header in Path(include_dir(), "llmos").glob("*.h"):
        used |= set(re.findall(r"defined\((\w+)\)", header.read_text()))
    systems = {"_WIN32", "__linux__"}  # they choose how to wait, not how to compute
    assert used - systems - {"__x86_64__"} == KNOWN.keys()


@pytest.mark.parametrize(
    ("target", "bf16", "int8", "int4"),
    [
        ("x86-64-v4-vnni-bf16", "AVX-512 vdpbf16ps", "AVX-512 vpdpbusd", "AVX-512 vpdpbusd"),
        ("x86-64-v4-vnni", "shift, AVX-512 FMA (portable)", "AVX-512 vpdpbusd", "AVX-512 vpdpbusd"),
        ("x86-64-v4", "shift, AVX-512 FMA (portable)", "AVX2 vpmaddubsw", "AVX-512 vpmaddubsw"),
        ("x86-64-v3", "shift, AVX2 FMA (portable)", "AVX2 vpmaddubsw", "AVX2 vpmaddubsw"),
        ("portable", "shift, SSE2 multiply, add (portable)", "plain integers (portable)", "plain integers (portable)"),
        ("aarch64-dotprod", "shift, NEON FMA (portable)", "NEON sdot", "NEON sdot"),
        ("aarch64-portable", "shift, NEON FMA (portable)", "NEON smull (portable)", "NEON smull (portable)"),
    ],
)
def test_each_target_uses_what_it_has(target: str, bf16: str, int8: str, int4: str):
    found = [str(product_implementation(TARGETS[target], format)) for format in ("bf16", "int8", "int4")]
    assert found == [bf16, int8, int4]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_every_operation_of_every_target_has_a_way(target, format: str):
    graph = build_graph(spec_from_config(CONFIG), Options(weights=format, kv="bf16"))
    for _, block in graph.blocks():
        for node in block.nodes:
            found = implementation(target, node, "bf16")
            assert found.instructions
            if "linear" in node.op:
                assert found == product_implementation(target, format)


def test_attention_takes_the_way_of_what_is_stored():
    graph = build_graph(spec_from_config(CONFIG), Options(weights="int8", kv="bf16"))
    attend = next(node for _, block in graph.blocks() for node in block.nodes if node.op == "append_attend")
    found = [str(implementation(TARGETS["x86-64-v4-vnni-bf16"], attend, kv)) for kv in ("float32", "bf16", "int8")]
    assert found == ["AVX-512 FMA", "AVX-512 vdpbf16ps", "AVX-512 FMA"]


@pytest.mark.parametrize("kv", KV_FORMATS)
@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_attention_and_rows_are_told_as_the_operations_are(target, kv: str):
    graph = build_graph(spec_from_config(CONFIG), Options(weights="int8", kv=kv))
    ways = {node.op: implementation(target, node, kv) for _, block in graph.blocks() for node in block.nodes}
    assert ways["append_attend"] == attention_implementation(target, kv)
    assert {way for op, way in ways.items() if "linear" not in op and op != "append_attend"} == {
        row_implementation(target)
    }


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_a_more_able_target_has_all_instructions_of_a_less_able_one_and_is_portable_in_nothing_more(architecture: str):
    targets = [target for target in TARGETS.values() if target.architecture == architecture]
    for less, more in pairwise(targets):
        assert less.needs < more.needs
        for way in (product_implementation, attention_implementation):
            for format in FORMATS if way is product_implementation else KV_FORMATS:
                assert way(less, format).portable or not way(more, format).portable, f"{way} of {format} on {more.name}"
