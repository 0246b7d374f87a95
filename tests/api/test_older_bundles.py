"""Bundles of other compilers: one whose operations are other is run, one whose weights lie elsewhere is refused and says where."""

import json
import warnings
import zipfile

import pytest

import llm
from llmos.api import compile_model
from llmos.compiler import Options, build, build_graph, dict_hash, other_weights, to_dict
from llmos.compiler.passes import PIPELINE
from llmos.core.errors import FormatError
from llmos.models import spec_from_config
from tests.api.test_images import answer, write_checkpoint
from tests.artifact.test_damaged_model import sealed
from tests.graph_configs import CONFIGS
from tests.tiny_programs import CONFIG

SHAPES = CONFIG | {"intermediate_size": 96}  # of which gate, up and activation are one operation
SAME_WEIGHTS = ("fuse_gated", "fuse_residual", "fuse_quantize")  # passes that change operations only


def without(*names):
    return tuple(run for run in PIPELINE if run.__name__ not in names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("older") / "model", seed=0, config=SHAPES)


@pytest.fixture(scope="module")
def bundle(folder):
    compile_model(str(folder), folder.parent / "new.llm", weights="int8", verified=False)
    return folder.parent / "new.llm"


def changed(bundle, path, graph=None, manifest=None):
    """A bundle with another graph or other fields of the manifest, in which every hash is right. None: without the field."""
    with zipfile.ZipFile(bundle) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    if graph is not None:
        entries["graph.json"] = json.dumps(graph).encode()
        manifest = {"graph": dict_hash(graph)}
    fields = json.loads(entries["manifest.json"]) | manifest
    kept = {name: value for name, value in fields.items() if value is not None}
    sealed(path, entries | {"manifest.json": json.dumps(kept).encode()})
    return path


def graph_of(bundle):
    with zipfile.ZipFile(bundle) as archive:
        return json.loads(archive.read("graph.json"))


@pytest.mark.toolchain
def test_a_bundle_of_a_compiler_with_fewer_passes_says_what_one_of_ours_says(folder, bundle, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(build, "PIPELINE", without(*SAME_WEIGHTS))
        compile_model(str(folder), tmp_path / "made.llm", weights="int8", verified=False)
    older = changed(
        tmp_path / "made.llm", tmp_path / "older.llm", manifest={"layout": None}
    )  # which versions before this one had not
    operations = [{node["op"] for node in graph_of(each)["kinds"][0]["nodes"]} for each in (older, bundle)]
    assert "gated_act" in operations[0] - operations[1]
    expected = answer(bundle, weights=None)
    assert answer(older, weights=None) == answer(tmp_path / "made.llm", weights=None, memory="mapped") == expected


@pytest.mark.toolchain
def test_a_bundle_whose_weights_lie_elsewhere_is_refused(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(build, "PIPELINE", without("fuse_gate_up", *SAME_WEIGHTS))
        compile_model(str(folder), tmp_path / "x.llm", weights="int8", verified=False)
    with pytest.raises(
        FormatError, match=r"other packed weights .*: layer\.0\.gate_up is missing, not int8 of .*compile it again"
    ):
        llm.load_model(str(tmp_path / "x.llm"))


def shape_changed(graph):
    graph["prologue"]["shapes"]["embed"][0] += 1


def format_changed(graph):
    node = next(node for node in graph["kinds"][0]["nodes"] if node["op"] == "add_linear")
    node["attrs"]["format"] = "int4"


def layer_added(graph):
    graph["layers"].append(0)
    graph["prefixes"].append("layer.9.")


def prefixes_changed(graph):
    graph["prefixes"].reverse()


def encoder_added(graph):
    graph["encoder"] = graph | {}


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (shape_changed, "embed is int8 of "),
        (format_changed, "is int4 of .*, not int8 of "),
        (layer_added, "layers, not "),
        (prefixes_changed, "lie where those of 'layer"),
        (encoder_added, "one has an encoder"),
    ],
)
def test_what_differs_of_the_weights_is_told(bundle, tmp_path, change, told):
    graph = graph_of(bundle)
    change(graph)
    with pytest.raises(FormatError, match=f"holds other packed weights .*{told}"):
        llm.load_model(str(changed(bundle, tmp_path / "y.llm", graph)))


@pytest.mark.toolchain
def test_a_manifest_that_contradicts_its_bundle_is_refused(bundle, tmp_path):
    for manifest, told in (
        ({"graph": "0" * 64}, "field graph is not the hash of graph.json"),
        ({"layout": "0" * 64}, "they lie in another order"),
        ({"layout": 3}, "field layout must be 64 hexadecimal digits"),
    ):
        with pytest.raises(FormatError, match=told):
            llm.load_model(str(changed(bundle, tmp_path / "y.llm", manifest=manifest)))


GRAPH = build_graph(spec_from_config(SHAPES), Options(weights="int8"))


@pytest.mark.parametrize("missing", ["layers", "prefixes", "kinds", "prologue", "encoder"])
@pytest.mark.parametrize("instead", [None, [], {}, 3, "x", [[]], [None] * 2, {"shapes": 1}])
def test_what_is_no_graph_is_told_as_that_or_as_another(missing, instead):
    stored = to_dict(GRAPH)
    if stored[missing] == instead:
        return
    stored[missing] = instead
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = other_weights(GRAPH, stored)
        except ValueError as error:
            found = str(error)
    assert found


@pytest.mark.parametrize(("name", "config"), CONFIGS.items(), ids=CONFIGS)
def test_parameters_lie_in_the_order_in_which_operations_read_them(name, config):
    graph = build_graph(spec_from_config(config), Options(weights="int8"))
    for _, block in graph.blocks():
        assert list(block.shapes) == list(dict.fromkeys(name for node in block.nodes for name in node.params))
    stored = json.loads(json.dumps(to_dict(graph), sort_keys=True))
    assert other_weights(graph, stored) is None
    nodes = stored["kinds"][0]["nodes"]
    first, second = [node for node in nodes if node["params"]][:2]
    first["params"], second["params"] = second["params"], first["params"]
    assert other_weights(graph, stored)
