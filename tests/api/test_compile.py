"""What goes into a bundle beside the weights: the licence, and the lineage of the files that were read."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import llm
from llmos.core.errors import FormatError
from llmos.core.files import sha256_file
from llmos.models import shapes, sources, spec_from_config
from tests.tiny_programs import CONFIG
from tests.tiny_tokenizer import tokenizer_text

pytestmark = pytest.mark.toolchain
TINY = CONFIG | {"vocab_size": 260, "hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A checkpoint in two shards, with files that mean nothing to us."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    spec = spec_from_config(TINY)
    tensors = {s.name: np.ones(shapes(spec)[n], np.float32) for n, s in sources(spec).items()}
    where = {name: f"{'ab'[i % 2]}.safetensors" for i, name in enumerate(tensors)}
    for shard in ("a.safetensors", "b.safetensors"):
        save_file({name: tensor for name, tensor in tensors.items() if where[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (folder / "config.json").write_text(json.dumps(TINY))
    (folder / "tokenizer.json").write_text(tokenizer_text(), encoding="utf-8")
    (folder / "chat_template.jinja").write_text("x")
    (folder / "training_log.json").write_text("{}")
    save_file({"adapter": np.ones(3, np.float32)}, folder / "adapter.safetensors")
    return folder


def compiled(source: Path, tmp_path: Path) -> dict[str, bytes]:
    llm.compile(str(source), tmp_path / "x.llm", weights="int8")
    with zipfile.ZipFile(tmp_path / "x.llm") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_lineage_of_a_folder_names_the_files_that_were_read_and_no_others(folder, tmp_path):
    files = json.loads(compiled(folder, tmp_path)["lineage.json"])["files"]
    named = {"a.safetensors", "b.safetensors", "model.safetensors.index.json", "config.json", "tokenizer.json"}
    assert files == {name: sha256_file(folder / name) for name in named | {"chat_template.jinja"}}


def test_the_lineage_of_a_llama2c_model_names_its_tokenizer(data_dir, tmp_path):
    for name in ("stories260K.bin", "tok512.bin"):
        shutil.copy(data_dir / "real-weights" / name, tmp_path / name)
    files = json.loads(compiled(tmp_path / "stories260K.bin", tmp_path)["lineage.json"])["files"]
    assert files == {name: sha256_file(tmp_path / name) for name in ("stories260K.bin", "tok512.bin")}


def test_a_folder_of_licences_is_no_licence(folder, tmp_path):
    (folder / "LICENSES").mkdir()
    assert "LICENSE" not in compiled(folder, tmp_path)
    (folder / "LICENSE.md").write_text("do what you like")
    assert compiled(folder, tmp_path)["LICENSE"] == b"do what you like"


@pytest.mark.parametrize("name", ["layer.0.q", "layer.0.norm1", "layer.99.down"])
def test_a_bundle_with_formats_that_its_model_cannot_have_is_refused_by_its_name(folder, tmp_path, name):
    from tests.artifact.test_damaged_model import sealed

    entries = compiled(folder, tmp_path)
    manifest = json.loads(entries["manifest.json"])
    manifest["formats"]["matrices"] = {name: "int4"}
    sealed(tmp_path / "y.llm", entries | {"manifest.json": json.dumps(manifest).encode()})
    with pytest.raises(FormatError, match=r"y\.llm: manifest\.json: field formats: .* cannot have"):
        llm.load_model(str(tmp_path / "y.llm"))
    with pytest.raises(FormatError, match="field formats"):
        llm.plan(str(tmp_path / "y.llm"), measure=False)


@pytest.mark.parametrize("name", ["x.bin", "x", "x.LLM"])
def test_a_bundle_is_only_written_under_a_name_that_says_what_it_is(tmp_path, name):
    with pytest.raises(llm.UserError, match=r"its name must end in \.llm"):
        llm.compile("llmos-mini", tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_bundle_whose_graph_document_is_another_is_refused(folder, tmp_path):
    from tests.artifact.test_damaged_model import sealed

    entries = compiled(folder, tmp_path)
    graph = json.loads(entries["graph.json"])
    graph["facts"]["vocab"] += 1
    sealed(tmp_path / "y.llm", entries | {"graph.json": json.dumps(graph).encode()})
    with pytest.raises(FormatError, match=r"field graph is not the hash of graph\.json"):
        llm.load_model(str(tmp_path / "y.llm"))
