"""GGUF files as models: the logits of transformers with the same weights, for every type and every family that has a table."""

from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.torch
models = pytest.importorskip("tests.gguf_models", reason="transformers and torch are not installed")

from llmos.api.assemble import fill_weights, weights_bytes  # noqa: E402
from llmos.api.gguf import open_gguf  # noqa: E402
from llmos.api.prepare import choose_options, demand, open_source  # noqa: E402
from llmos.compiler import build_graph, layout  # noqa: E402
from llmos.core.errors import FormatError, UserError  # noqa: E402
from llmos.models import forward  # noqa: E402
from llmos.ops.numpy_ops import NumpyOps  # noqa: E402
from llmos.weights import unpack, widened  # noqa: E402
from tests.gguf_files import KINDS, PLAIN, plain, write  # noqa: E402
from tests.tiny_checkpoints import logits  # noqa: E402

ROUTERS = {f"blk.{i}.ffn_gate_inp.weight": "F32" for i in range(8)}


def check_logits(path, model, tolerance=1e-5) -> None:
    """Ours, from the file and in float64, beside those of transformers."""
    opened = open_gguf(path)
    w = {name: opened.parameters[name].float32().astype(np.float64) for name in opened.parameters}
    ids = np.random.default_rng(1).integers(0, opened.spec.vocab, 17).tolist()
    ours = forward(NumpyOps(), opened.spec, w, ids, np.arange(len(ids)))
    theirs = logits(model.double(), ids)
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


@pytest.mark.parametrize("name", models.CASES)
def test_every_family_computes_what_transformers_does(name, tmp_path):
    case = models.CASES[name]
    model = case.model()
    check_logits(models.write_model(tmp_path / "x.gguf", case, model), model)


TYPES = [("llama", kind) for kind in (*KINDS, *PLAIN[1:])] + [("gpt2", "Q4_0"), ("gpt2", "Q6_K")]


@pytest.mark.parametrize(("name", "kind"), TYPES)
def test_every_type_stands_for_the_weights_that_the_package_decodes(name, kind, tmp_path):
    case = models.WIDE[name]
    model = case.model()
    check_logits(models.write_model(tmp_path / "x.gguf", case, model, kind), model)


def llama(tmp_path, change=lambda metadata, tensors: None, **settings):
    """The file of a tiny llama, something in it changed."""
    case = models.CASES["llama"]
    model = case.model()
    written = {}

    def catch(path, arch, metadata, tensors, **more):
        written.update(arch=arch, metadata=dict(metadata), tensors=dict(tensors))
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "write", catch)
        models.write_model(tmp_path / "x.gguf", case, model)
    change(written["metadata"], written["tensors"])
    return write(tmp_path / "x.gguf", settings.get("arch", written["arch"]), written["metadata"], written["tensors"])


def drop(key):
    return lambda metadata, tensors: metadata.pop(key)


def put(**keys):
    return lambda metadata, tensors: metadata.update({"llama." + key.replace("__", "."): keys[key] for key in keys})


def add(*names):
    factors = plain("F32", np.ones(5, np.float32))
    return lambda metadata, tensors: tensors.update(dict.fromkeys(names, factors))


REFUSED = {
    "a key that nothing reads": (put(brand_new=1), "llama fields that are not understood.*brand_new"),
    "further layers that guess tokens": (put(nextn_predict_layers=1), "nextn_predict_layers = 1 is not supported"),
    "attention that sees ahead": (put(attention__causal=False), "attention.causal = False"),
    "values of another size": (put(attention__value_length=7), "attention.value_length = 7"),
    "no layers": (drop("llama.block_count"), "num_hidden_layers is missing"),
    "no epsilon": (
        drop("llama.attention.layer_norm_rms_epsilon"),
        r"llama\.attention\.layer_norm_rms_epsilon is missing",
    ),
    "no context": (drop("llama.context_length"), r"llama\.context_length is missing"),
    "no width": (drop("llama.embedding_length"), "embedding_length is missing"),
    "a width of text": (put(embedding_length="48"), "embedding_length must be int"),
    "many layers": (put(block_count=2**31), "num_hidden_layers is 2147483648"),
    "another kind of rope": (put(rope__scaling__type="su"), "rope.scaling.type is 'su'; understood"),
    "part of a head": (put(rope__dimension_count=6), "rope.dimension_count is 6"),
    "longrope alone": (put(rope__scaling__type="longrope"), "no tensor of factors"),
    "one half of the factors": (add("rope_factors_long.weight"), "only one is there"),
    "stretched twice": (
        lambda m, t: (
            put(rope__scaling__type="linear", rope__scaling__factor=2.0)(m, t),
            add("rope_freqs.weight")(m, t),
        ),
        "stretched twice",
    ),
    "an unknown tensor": (add("blk.0.brand_new.weight"), "unexpected blk.0.brand_new.weight"),
    "a missing tensor": (lambda m, t: t.pop("blk.1.ffn_up.weight"), "missing blk.1.ffn_up.weight"),
    "a vocabulary only": (lambda m, t: t.clear(), "no tensor token_embd.weight"),
    "an adapter": (
        lambda m, t: m.update({"general.type": "adapter"}),
        "a LoRA adapter .* folders with adapter_config.json",
    ),
    "a projector": (
        lambda m, t: m.update({"general.type": "mmproj"}),
        r"a projector of pictures \(mmproj\) and no model",
    ),
    "an importance matrix": (lambda m, t: m.update({"general.type": "imatrix"}), "an importance matrix"),
    "another kind of file": (lambda m, t: m.update({"general.type": "dataset"}), "a part of kind 'dataset'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_understood_is_refused_by_name(case, tmp_path):
    change, message = REFUSED[case]
    with pytest.raises(UserError, match=f"(?s)x.gguf.*{message}"):
        open_gguf(llama(tmp_path, change))


def test_an_unknown_architecture_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(
        UserError, match=r"architecture 'brand-new' are not read from GGUF; known: bert, falcon, gemma, .*gpt2, .*llama"
    ):
        open_gguf(llama(tmp_path, arch="brand-new"))


def test_a_norm_of_layers_needs_its_epsilon_too(tmp_path):
    case = models.CASES["gpt2"]
    keys = case.metadata(case.model().config)
    del keys["attention.layer_norm_epsilon"]
    without = replace(case, metadata=lambda config: keys)
    path = models.write_model(tmp_path / "x.gguf", without, case.model())
    with pytest.raises(UserError, match=r"gpt2\.attention\.layer_norm_epsilon is missing"):
        open_gguf(path)


def test_an_older_projector_is_refused_as_one(tmp_path):
    with pytest.raises(UserError, match="holds a projector of pictures"):
        open_gguf(llama(tmp_path, arch="clip"))


def test_what_changes_nothing_may_be_there(tmp_path):
    change = put(vocab_size=32000, rope__scaling__finetuned=False, expert_count=0, attention__causal=True)
    assert len(open_gguf(llama(tmp_path, change)).spec.layers) == 2


def test_rope_that_is_stretched_by_yarn_is_that_of_the_config(tmp_path):
    scaling = {"type": "yarn", "factor": 4.0, "original_context_length": 64}
    spec = open_gguf(llama(tmp_path, put(**{f"rope__scaling__{key}": value for key, value in scaling.items()}))).spec
    rope = spec.layers[0].attention.rope
    assert rope.yarn.factor == 4 and rope.yarn.original_context == 64
    assert rope.magnitude == pytest.approx(0.1 * np.log(4) + 1)


def test_sampling_defaults_of_the_file_are_taken(tmp_path):
    sampling = {"general.sampling.temp": 0.5, "general.sampling.top_k": 7, "general.sampling.mirostat": 2}
    opened = open_gguf(llama(tmp_path, lambda metadata, tensors: metadata.update(sampling)))
    assert opened.generation == {"temperature": 0.5, "top_k": 7, "mirostat": 2}


def test_the_precision_is_the_smallest_format_that_holds_all_matrices(tmp_path):
    case = models.WIDE["llama"]
    found = {}
    for kind in ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q4_K", "Q8_0", "Q5_0", "Q6_K"):
        opened = open_gguf(models.write_model(tmp_path / f"{kind}.gguf", case, case.model(), kind))
        found[kind] = opened.parameters.precision.dtype
        assert opened.stored == (kind if kind == "F32" else f"{kind}, F32")
    floats = {"F32": "float32", "F16": "float16", "BF16": "bf16"}
    assert found == floats | {
        "Q4_0": "int4",
        "Q4_1": "uint4",
        "Q4_K": "uint4",
        "Q8_0": "int8",
        "Q5_0": "int8",
        "Q6_K": "int8",
    }


@pytest.mark.parametrize(
    ("kind", "format"), [("Q4_0", "int4"), ("Q4_1", "uint4"), ("F16", "float16"), ("BF16", "bf16")]
)
def test_what_stays_float32_has_no_say_in_the_format(tmp_path, kind, format):
    case = models.WIDE["mixtral"]
    model = case.model()
    path = models.write_model(tmp_path / "x.gguf", case, model, kind, ROUTERS)
    precision = open_gguf(path).parameters.precision
    assert (precision.dtype, precision.tables, precision.notices) == (format, None, ())
    check_logits(path, model)
    path = models.write_model(tmp_path / "y.gguf", models.WIDE["gpt2"], models.wide_gpt2(), kind)
    assert open_gguf(path).parameters.precision.dtype == format  # its positions are F32


def test_what_most_values_have_is_counted_in_parameters_not_in_the_tensors_that_hold_them(tmp_path):
    """GPT-2's tensor of queries, keys and values is met three times: half of these values, it would be three quarters."""
    case = models.WIDE["gpt2"]
    path = models.write_model(tmp_path / "x.gguf", case, case.model(), "Q8_0", {"blk.0.attn_qkv.weight": "Q4_0"})
    precision = open_gguf(path).parameters.precision
    assert (precision.dtype, set(precision.matrices)) == ("int8", {f"layer.0.{name}" for name in "qkv"})


def test_tables_take_the_smallest_format_that_holds_them_too(tmp_path):
    case = models.WIDE["llama"]
    tables = {"output.weight": "Q4_0", "token_embd.weight": "Q4_0"}
    path = models.write_model(tmp_path / "x.gguf", case, case.model(), "Q8_0", tables)
    precision = open_gguf(path).parameters.precision
    assert (precision.dtype, precision.tables, precision.notices) == ("int8", "int4", ())


def test_codes_in_a_file_of_floats_are_counted_with_the_memory_that_converts_them(tmp_path):
    case = models.WIDE["llama"]
    sizes = {}
    for kind in ("F16", "Q8_0"):
        path = models.write_model(tmp_path / f"{kind}.gguf", case, case.model(), "F16", {"blk.0.ffn_down.weight": kind})
        source = open_source(str(path))
        assert source.precision == "float16"
        options = choose_options(source, None, None)
        graph = build_graph(source.spec, options)
        made = demand(source, graph, context=8, batch=1, threads=1)
        sizes[kind] = made.sizes.converted
    assert sizes["F16"] == 0 < sizes["Q8_0"]


def test_matrices_of_two_kinds_keep_a_format_each(tmp_path):
    case = models.WIDE["llama"]
    for other, format in (
        ("Q4_0", None),
        ("Q4_1", "uint4"),
        ("Q4_K", "uint4"),
        ("Q8_0", "int8"),
        ("Q6_K", "int8"),
        ("F16", "float16"),
    ):
        path = models.write_model(tmp_path / "x.gguf", case, case.model(), "Q4_0", {"blk.0.ffn_down.weight": other})
        precision = open_gguf(path).parameters.precision
        assert (precision.dtype, dict(precision.matrices)) == ("int4", {"layer.0.down": format} if format else {})
        assert bool(precision.notices) == (other == "Q6_K")


def test_matrices_that_are_computed_as_one_share_a_format(tmp_path):
    case = models.WIDE["llama"]
    path = models.write_model(tmp_path / "x.gguf", case, case.model(), "Q4_0", {"blk.0.attn_v.weight": "Q8_0"})
    precision = open_gguf(path).parameters.precision
    assert precision.dtype == "int4" and dict(precision.matrices) == {f"layer.0.{name}": "int8" for name in "qkv"}
    assert "stored as q4_0 are rounded" not in "".join(precision.notices)  # its codes are those of int8, too


def expected_scores(model):
    """Ids, what transformers gives each but the first, and how far activations in int8 may lead from it."""
    ids = np.random.default_rng(1).integers(0, model.config.vocab_size, 17).tolist()
    expected = logits(model.double(), ids)
    shifted = expected - expected.max(-1, keepdims=True)
    scores = (shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))[np.arange(16), ids[1:]]
    return ids, scores, 5e-2 * np.abs(expected).max()


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("kind", "down", "formats"),
    [
        ("Q8_0", "F16", ("int8", "float16")),  # their activations differ too
        pytest.param("Q4_0", "Q8_0", ("int4", "int8"), marks=pytest.mark.slow),
    ],
)
def test_experts_multiply_into_and_out_of_themselves_in_other_formats(tmp_path, kind, down, formats):
    """As llama.cpp's Q4_K_M has mixtures of experts: half of the layers keep the experts' down in more bits."""
    import llm

    case, downs = models.WIDE["mixtral"], "blk.0.ffn_down_exps.weight"
    model = case.model()
    path = models.write_model(tmp_path / "x.gguf", case, model, kind, {downs: down} | ROUTERS)
    precision = open_gguf(path).parameters.precision
    assert precision.dtype == formats[0] and not precision.notices
    assert dict(precision.matrices) == {f"layer.0.expert.{e}.down": formats[1] for e in range(3)}
    ids, wanted, tolerance = expected_scores(model)
    with llm.load_model(path, threads=2) as loaded:
        assert loaded.info()["formats"]["matrices"] == {formats[1]: 3}
        scores = loaded.score(ids)
    assert np.abs(np.array(scores[1:]) - wanted).max() <= tolerance


def test_gates_of_experts_share_the_format_of_their_ups(tmp_path):
    case = models.WIDE["mixtral"]
    others = {"blk.1.ffn_up_exps.weight": "Q8_0"} | ROUTERS
    path = models.write_model(tmp_path / "x.gguf", case, case.model(), "Q4_0", others)
    wanted = {f"layer.1.expert.{e}.{part}": "int8" for e in range(3) for part in ("gate", "up")}
    assert dict(open_gguf(path).parameters.precision.matrices) == wanted
    source = open_source(str(path))
    build_graph(source.spec, choose_options(source, None, None))


@pytest.mark.toolchain
def test_a_mixture_of_types_is_compiled_as_one_and_into_one_file(tmp_path):
    """As llama.cpp's Q4_K_M has it: half of the layers keep values and down in more bits."""
    import llm

    case = models.WIDE["llama"]
    model = case.model()
    more = {"blk.0.attn_v.weight": "Q6_K", "blk.0.ffn_down.weight": "Q6_K", "output.weight": "Q6_K"}
    path = models.write_model(tmp_path / "x.gguf", case, model, "Q4_K", more)
    ids, wanted, tolerance = expected_scores(model)
    with pytest.warns(UserWarning, match="rounded a second time"):
        loaded = llm.load_model(path)
    with loaded:
        formats = loaded.info()["formats"]
        assert (formats["weights"], formats["tables"], formats["matrices"]) == ("uint4", "int8", {"int8": 4})
        scores = loaded.score(ids)
    assert np.abs(np.array(scores[1:]) - wanted).max() <= tolerance
    with pytest.warns(UserWarning, match="rounded a second time"):
        llm.compile(path, tmp_path / "x.llm")
    with llm.load_model(tmp_path / "x.llm") as bundle:
        assert bundle.info()["formats"]["matrices"] == {"int8": 4}
        assert bundle.score(ids) == scores


def test_a_second_rounding_is_told_with_the_kinds_that_it_befalls(tmp_path):
    case = models.WIDE["llama"]
    for others, tables, told in (
        ({"output.weight": "Q6_K"}, "int8", "stored as q6_k are rounded a second time, to int8"),
        ({"blk.0.ffn_down.weight": "Q6_K"}, "int4", "stored as q6_k"),
        ({"output.weight": "Q8_0", "token_embd.weight": "Q8_0"}, "int8", None),
        ({"output.weight": "F16", "token_embd.weight": "F16"}, "float16", None),
    ):
        path = models.write_model(tmp_path / "x.gguf", case, case.model(), "Q4_0", others)
        found = open_gguf(path).parameters.precision
        assert (found.tables or found.dtype) == tables
        assert told in found.notices[0] if told else found.notices == ()


@pytest.mark.parametrize(("kind", "format"), [("Q4_0", "int4"), ("Q4_K", "uint4"), ("Q5_0", "int8")])
def test_codes_are_packed_as_they_are_stored(tmp_path, kind, format):
    case = models.WIDE["llama"]
    path = models.write_model(tmp_path / "x.gguf", case, case.model(), kind)
    source = open_source(str(path))
    graph = build_graph(source.spec, choose_options(source, None, None))
    assert graph.facts["weights"] == format
    out = memoryview(bytearray(weights_bytes(graph)))
    fill_weights(graph, source.parameters, out)
    for section in layout(graph):
        if section.format != "plain":
            packed = np.frombuffer(out, np.uint8)[section.offset : section.offset + section.n_bytes]
            rows = np.concatenate(
                [widened(source.parameters[name], format).groups().float32() for name in section.parts]
            )
            assert np.array_equal(unpack(packed, *section.shape, format), rows)


def test_damage_is_a_format_error(tmp_path):
    path = llama(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FormatError, match="cut off"):
        open_gguf(path)
