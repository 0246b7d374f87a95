"""Passes keep the meaning: the planned graph, interpreted, gives the definition's numbers; equal specs give equal code."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from llmos.compiler import TARGETS, Options, build_graph, emit, graph_hash, layout, target_named, to_dict
from llmos.compiler.graph import check, dumps
from llmos.compiler.passes import PIPELINE
from llmos.compiler.trace import trace
from llmos.core.errors import UserError
from llmos.models import Attention, Experts, Llama3Scaling, LongFactors, Rope, Yarn, forward, shapes, spec_from_config
from llmos.ops.numpy_ops import NumpyOps
from tests.graph_configs import CONFIGS, GPT2, LLAMA


class Interpreter:
    """Runs a graph with the numpy operations, at any point of the pipeline."""

    def __init__(self, graph, w, tokens):
        self.graph, self.w, self.ops = graph, w, NumpyOps()
        self.tokens, self.positions = tokens, np.arange(len(tokens))

    def run(self):
        x = self.block(self.graph.prologue, "", None)
        for i, kind in enumerate(self.graph.layers):
            x = self.block(self.graph.kinds[kind], f"layer.{i}.", x)
        return self.block(self.graph.epilogue, "", x)

    def block(self, block, prefix, x):
        values = {"%x": x}
        self.prefix, self.fused = prefix, block.fused
        for n in block.nodes:
            p = [self.parameter(block, prefix, name) for name in n.params]
            values[n.out] = getattr(self, n.op)(n, [values[v] for v in n.inputs], p)
            assert values[n.out].shape[-1] == n.width, n
        return values[block.result.out]

    def parameter(self, block, prefix, name):
        return np.concatenate([self.w[prefix + part] for part in block.fused.get(name, (name,))])

    def embed(self, n, x, p):
        return p[0][self.tokens] * n.attrs.get("scale", 1.0)

    def position(self, n, x, p):
        return p[0][self.positions]

    def add(self, n, x, p):
        return x[0] + x[1]

    def add_first_row(self, n, x, p):
        return self.ops.add_first_row(x[0], p[0])

    def mul(self, n, x, p):
        return x[0] * x[1]

    def scale(self, n, x, p):
        return x[0] * n.attrs["by"]

    def rms_norm(self, n, x, p):
        return self.norm(n.op, x[0], p, n.attrs["eps"], n.attrs.get("heads"))

    layer_norm = rms_norm

    def norm(self, op, x, p, eps, heads=None):
        x = x if heads is None else self.ops.split_heads(x, heads)
        y = (
            self.ops.rms_norm(x, p[0], eps)
            if op == "rms_norm"
            else self.ops.layer_norm(x, *p, *[None][len(p) - 1 :], eps)
        )
        return y if heads is None else self.ops.merge_heads(y)

    def softcap(self, n, x, p):
        return self.ops.softcap(x[0], n.attrs["cap"])

    def experts(self, n, x, p):
        e = n.attrs
        gates, ups = ([self.w[self.prefix + part] for part in self.fused["experts.gate_up"][i::2]] for i in range(2))
        downs = [self.w[self.prefix + part] for part in self.fused["experts.down"]]
        m = Experts(**{name: e[name] for name in ("count", "per_token", "hidden", "act", "normalised")})
        return self.ops.experts(x[0], x[1], gates, ups, downs, m)

    def linear(self, n, x, p):
        return self.ops.linear(x[0], p[0], p[1] if len(p) == 2 else None)

    def add_linear(self, n, x, p):
        return x[1] + self.linear(n, x, p)

    def quantize(self, n, x, p):
        return x[0]

    def select_outputs(self, n, x, p):
        return x[0]

    hidden = select_outputs

    def act(self, n, x, p):
        return self.ops.act(x[0], n.attrs["kind"])

    def gated_act(self, n, x, p):
        gate, up = np.split(x[0], 2, -1)
        return self.ops.act(gate, n.attrs["kind"]) * up

    def gated_linear(self, n, x, p):
        gate, up = np.split(self.ops.linear(x[0], p[0], None), 2, -1)
        return self.ops.act(gate, n.attrs["kind"]) * up

    def rope(self, n, x, p):
        heads = self.ops.split_heads(x[0], n.attrs["heads"])
        return self.ops.merge_heads(self.rotate(heads, n.attrs["rope"]))

    def rotate(self, heads, rope):
        return heads if rope is None else self.ops.rope(heads, self.positions, read_rope(rope))

    def attention(self, n, x, p):
        counts = (n.attrs["heads"], n.attrs["kv_heads"], n.attrs["kv_heads"])
        q, k, v = (self.ops.split_heads(a, c) for a, c in zip(x, counts, strict=True))
        return self.ops.merge_heads(self.ops.attention(q, k, v, self.positions, self.part(n.attrs)))

    def part(self, attrs):
        return Attention(
            **{name: attrs[name] for name in ("heads", "kv_heads", "head_dim", "scale", "window", "softcap", "causal")}
        )

    def append_attend(self, n, x, p):
        a = n.attrs
        heads = self.ops.split_heads(x[0], a["heads"] + 2 * a["kv_heads"])
        q, k, v = np.split(heads, [a["heads"], a["heads"] + a["kv_heads"]], -2)
        if a["norm"]:
            q, k = (self.head_norm(a["norm"], t, scale) for t, scale in zip((q, k), p, strict=True))
        q, k = self.rotate(q, a["rope"]), self.rotate(k, a["rope"])
        return self.ops.merge_heads(self.ops.attention(q, k, v, self.positions, self.part(a)))

    def head_norm(self, norm, t, scale):
        if norm["over"] != "width":
            return self.norm(norm["op"], t, [scale], norm["eps"])
        return self.ops.split_heads(self.norm(norm["op"], self.ops.merge_heads(t), [scale], norm["eps"]), t.shape[-2])


def read_rope(attrs):
    """A rope from the plain data of a graph."""
    kinds = {"llama3": Llama3Scaling, "long": LongFactors, "yarn": Yarn}
    parts = {name: kind(**attrs[name]) for name, kind in kinds.items() if attrs[name]}
    return Rope(**attrs | parts)


@pytest.mark.parametrize("family", CONFIGS)
def test_every_pass_keeps_the_numbers(family):
    spec = spec_from_config(CONFIGS[family])
    rng = np.random.default_rng(0)
    w = {name: rng.normal(0, 0.4, shape) for name, shape in shapes(spec).items()}
    tokens = rng.integers(0, spec.vocab, 17)
    expected = forward(NumpyOps(), spec, w, tokens, np.arange(17))
    graph = trace(spec)
    graph = replace(graph, facts={**graph.facts, "weights": "bf16", "kv": "bf16", "ropes": 1})
    np.testing.assert_allclose(Interpreter(graph, w, tokens).run(), expected, rtol=1e-10, atol=1e-10)
    for run in PIPELINE:
        graph = run(graph)
        check(graph)
        np.testing.assert_allclose(
            Interpreter(graph, w, tokens).run(), expected, rtol=1e-10, atol=1e-10, err_msg=run.__name__
        )


@pytest.mark.parametrize(("width", "biases", "fused"), [(64, False, True), (64, True, False), (48, False, False)])
def test_gated_products_are_one_operation_where_whole_groups_are_made_without_biases(width, biases, fused):
    spec = spec_from_config(LLAMA | {"intermediate_size": width, "mlp_bias": biases})
    kind = build_graph(spec, Options(weights="int8", kv="int8")).kinds[0]
    ops = [node.op for node in kind.nodes]
    assert ("gated_linear" in ops, "gated_act" in ops) == (fused, not fused)
    made = next(node for node in kind.nodes if node.op in ("gated_linear", "gated_act"))
    assert (made.width, made.dtype) == (width, "int8")


def test_values_that_live_at_the_same_time_never_share_memory():
    graph = build_graph(spec_from_config(LLAMA), Options(weights="int8", kv="int8"))
    from llmos.compiler.passes.plan_memory import row_bytes

    for name, block in graph.blocks():
        places = graph.buffers["places"][name]
        last = {v: i for i, n in enumerate(block.nodes) for v in n.inputs}
        for i, node in enumerate(block.nodes):
            start = places[node.out]
            end = start + row_bytes(node.dtype, node.width)
            for other in block.nodes[:i]:
                if other.rows != node.rows or last.get(other.out, -1) <= i:
                    continue
                a = places[other.out]
                assert end <= a or a + row_bytes(other.dtype, other.width) <= start, (
                    f"{name}: {node.out} overwrites {other.out}"
                )


def test_equal_specs_give_equal_graphs_and_code_and_the_form_of_a_file_is_plain_data():
    graph, again = (build_graph(spec_from_config(LLAMA), Options(weights="int8", kv="bf16")) for _ in range(2))
    assert json.loads(json.dumps(to_dict(graph))) == to_dict(again)
    assert graph_hash(again) == graph_hash(graph)
    assert emit(again) == emit(graph)
    assert emit(graph) != emit(build_graph(spec_from_config(LLAMA), Options(weights="bf16", kv="bf16")))


def test_code_grows_with_kinds_of_layers_and_not_with_depth():
    few, many = (emit(build_graph(spec_from_config(LLAMA | {"num_hidden_layers": n}), Options())) for n in (2, 40))
    assert many.count("LinearF32<") == few.count("LinearF32<")


def test_code_has_a_function_for_each_kind_of_layer_in_whatever_order_they_stand():
    config = CONFIGS["gemma3_text"] | {"num_hidden_layers": 26, "sliding_window_pattern": 6}
    assert emit(build_graph(spec_from_config(config), Options())).count("static void Layer") == 2


def test_code_does_not_grow_with_the_number_of_experts():
    few, many = (
        emit(build_graph(spec_from_config(CONFIGS["mixtral"] | {"num_local_experts": n}), Options())) for n in (4, 128)
    )
    assert many.count("\n") == few.count("\n")


def test_the_sum_over_experts_has_the_same_number_whatever_is_chosen():
    """A thread that is late reads who was chosen when that memory may hold something else: team.h says why this is enough."""
    config = CONFIGS["mixtral"] | {"num_local_experts": 8}
    code = [line.strip() for line in emit(build_graph(spec_from_config(config), Options())).splitlines()]
    begin, fixed = (
        code.index("const uint32_t last = team.turn + 40;  // whatever is chosen"),
        code.index("team.turn = last;"),
    )
    choosing = next(i for i, line in enumerate(code) if line.startswith("ChooseExperts<"))
    last_product = max(i for i, line in enumerate(code[:fixed]) if line.startswith("if (count) Linear"))
    assert begin < choosing < last_product < fixed
    assert code[fixed + 1].startswith("SumSlots<")


def test_sections_do_not_overlap_and_a_tied_head_is_stored_once():
    graph = build_graph(spec_from_config(GPT2), Options(weights="bf16"))
    sections = layout(graph)
    assert [s.name for s in sections].count("embed") == 1
    for a, b in itertools.pairwise(sections):
        assert a.offset % 64 == 0
        assert a.offset + a.n_bytes <= b.offset


@pytest.mark.parametrize("weights", ["int4", "int8", "bf16", "float16"])
def test_what_chooses_experts_is_float32_in_any_format(weights):
    sections = {s.name: s for s in layout(build_graph(spec_from_config(CONFIGS["mixtral"]), Options(weights=weights)))}
    assert sections["layer.1.router"].format == "float32"
    assert sections["layer.1.experts.down"].format == sections["layer.1.o"].format == weights


def test_layers_with_matrices_in_other_formats_are_other_kinds():
    config = LLAMA | {"num_hidden_layers": 4}
    matrices = tuple((f"layer.{i}.down", "int8") for i in (0, 2)) + tuple((f"layer.3.{n}", "float32") for n in "qkv")
    graph = build_graph(spec_from_config(config), Options(weights="uint4", matrices=matrices))
    assert graph.layers == (0, 1, 0, 2)
    formats = {section.name: section.format for section in layout(graph)}
    assert [formats[f"layer.{i}.down"] for i in range(4)] == ["int8", "uint4", "int8", "uint4"]
    assert [formats[f"layer.{i}.qkv"] for i in range(4)] == ["uint4", "uint4", "uint4", "float32"]
    assert {formats[f"layer.{i}.gate_up"] for i in range(4)} == {"uint4"}
    with pytest.raises(UserError, match=r"int3.*layer.0.down"):
        Options(matrices=(("layer.0.down", "int3"),))
    with pytest.raises(UserError, match="q, k, v are computed as one"):
        build_graph(spec_from_config(config), Options(weights="uint4", matrices=(("layer.0.q", "int8"),)))


@pytest.mark.parametrize("name", ["layer.99.q", "layer.0.norm1", "layer.0.router", "head", "layer.0.qkv"])
def test_only_matrices_of_layers_have_formats_of_their_own(name):
    spec = spec_from_config(CONFIGS["mixtral"])
    with pytest.raises(UserError, match=f"{name} cannot have a format of their own"):
        build_graph(spec, Options(weights="uint4", matrices=((name, "int8"),)))


def test_a_format_that_most_matrices_have_parts_no_layers():
    spec = spec_from_config(LLAMA)
    named = build_graph(spec, Options(weights="uint4", matrices=(("layer.0.down", "uint4"),)))
    assert dumps(named) == dumps(build_graph(spec, Options(weights="uint4")))


def test_experts_go_into_and_out_of_themselves_in_two_formats():
    spec = spec_from_config(CONFIGS["mixtral"])
    own = tuple((f"layer.1.expert.{e}.down", "float16") for e in range(3))
    graph = build_graph(spec, Options(weights="uint4", matrices=own))
    formats = {section.name: section.format for section in layout(graph)}
    names = ("experts.gate_up", "experts.down")
    assert [[formats[f"layer.{i}.{name}"] for name in names] for i in (0, 1)] == [["uint4"] * 2, ["uint4", "float16"]]


def test_each_pass_is_dumped(tmp_path):
    build_graph(spec_from_config(LLAMA), Options(), dump=tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0] == "00-trace.txt"
    assert len(names) == 1 + len(PIPELINE)


def test_targets_are_chosen_by_features_and_refused_by_name():
    v3 = frozenset({"avx2", "fma", "bmi2", "f16c"})
    assert target_named(None, frozenset(), "x86_64").name == "portable"
    assert target_named(None, v3, "x86_64").name == "x86-64-v3"
    with pytest.raises(UserError, match="lacks avx2"):
        target_named("x86-64-v3", frozenset(), "x86_64")
    with pytest.raises(UserError, match="portable, x86-64-v3"):
        target_named("sparc", frozenset(), "x86_64")


def test_targets_are_those_of_the_architecture():
    assert target_named(None, frozenset({"asimd"}), "aarch64").name == "aarch64-portable"
    assert target_named(None, frozenset({"asimd", "asimddp"}), "aarch64").name == "aarch64-dotprod"
    assert target_named("portable", frozenset({"asimddp"}), "aarch64").name == "aarch64-portable"
    with pytest.raises(UserError, match="it is for x86_64, and the processor is aarch64"):
        target_named("x86-64-v3", frozenset(), "aarch64")
    with pytest.raises(UserError, match="architecture riscv64; known: aarch64, x86_64"):
        target_named(None, frozenset(), "riscv64")


def test_a_target_on_a_system_is_a_triple():
    assert TARGETS["aarch64-dotprod"].on("linux").triple == "aarch64-linux-gnu.2.17"
    assert TARGETS["aarch64-dotprod"].on("macos").triple == "aarch64-macos.13.0-none"
    assert TARGETS["x86-64-v3"].on("windows").triple == "x86_64-windows-gnu"
    assert [TARGETS["portable"].on(name).suffix for name in ("linux", "macos", "windows")] == [".so", ".dylib", ".dll"]


def test_unknown_formats_are_refused():
    with pytest.raises(UserError, match="int3"):
        Options(weights="int3")
