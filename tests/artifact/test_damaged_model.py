"""A compiled model or a checkpoint that is damaged is refused in one message, or says what it said before."""

import hashlib
import json
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import llm
from llmos.artifact.manifest import payload_hash
from llmos.core.errors import FormatError, LlmosError, UserError
from llmos.models import shapes, sources, spec_from_config
from tests.mutations import damaged, replaced
from tests.tiny_programs import CONFIG
from tests.tiny_tokenizer import tokenizer_text

pytestmark = pytest.mark.toolchain
TINY = CONFIG | {"vocab_size": 260, "hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A checkpoint with tokenizer and generation settings."""
    folder = tmp_path_factory.mktemp("tiny")
    spec, rng = spec_from_config(TINY), np.random.default_rng(0)
    tensors = {s.name: rng.normal(0.1, 0.3, shapes(spec)[n]).astype(np.float32) for n, s in sources(spec).items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(TINY))
    (folder / "tokenizer.json").write_text(tokenizer_text(), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true}')
    (folder / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.5, "eos_token_id": 259}')
    return folder


@pytest.fixture(scope="module")
def bundle(folder) -> Path:
    path = folder.parent / "tiny.llm"
    llm.compile(str(folder), path, weights="int8")
    return path


def said(path: Path) -> tuple[list[int], str]:
    with llm.load_model(str(path), threads=1) as model:
        generation = model.generate("abc", seed=1, max_tokens=6)
        return generation.tokens, generation.text


def fuzz_bytes(bundle: Path, path: Path, examples: int) -> None:
    expected = said(bundle)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=damaged(bundle.read_bytes()))
    def holds(data):
        path.write_bytes(data)
        try:
            assert said(path) == expected
        except LlmosError as error:
            assert str(path) in str(error)

    holds()


def test_a_damaged_bundle_is_refused_or_says_the_same(bundle, tmp_path):
    fuzz_bytes(bundle, tmp_path / "x.llm", 200)


@pytest.mark.slow
def test_many_more_damaged_bundles_are_refused_or_say_the_same(bundle, tmp_path):
    fuzz_bytes(bundle, tmp_path / "x.llm", 3000)


def entries_of(bundle: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sealed(path: Path, entries: dict[str, bytes]) -> None:
    """A bundle of entries from other hands, in which every hash is right."""
    manifest = json.loads(entries["manifest.json"])
    if isinstance(manifest, dict) and isinstance(manifest.get("sha256"), dict):
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in entries.items() if name != "manifest.json"}
        hashes["weights.bin"] = hashlib.sha256(hashlib.sha256(entries["weights.bin"]).digest()).hexdigest()  # one chunk
        manifest |= {"sha256": hashes, "payload": payload_hash(hashes)}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, json.dumps(manifest) if name == "manifest.json" else data)


def fuzz_values(bundle: Path, path: Path, examples: int) -> None:
    entries = entries_of(bundle)
    names = ("manifest.json", "spec.json", "prompt_format.json", "golden.json", "lineage.json")

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data(), name=st.sampled_from(names))
    def holds(data, name):
        value = data.draw(replaced(json.loads(entries[name])))
        sealed(path, entries | {name: json.dumps(value).encode()})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", llm.ModelNotice)  # a setting of a name that nobody knows is named
                tokens, text = said(path)
        except LlmosError as error:
            assert str(path) in str(error)
            return
        assert all(0 <= id < 260 for id in tokens)
        assert isinstance(text, str)

    holds()


def test_a_bundle_with_another_value_somewhere_is_refused_or_runs(bundle, tmp_path):
    fuzz_values(bundle, tmp_path / "x.llm", 300)


@pytest.mark.slow
def test_many_more_bundles_with_another_value_are_refused_or_run(bundle, tmp_path):
    fuzz_values(bundle, tmp_path / "x.llm", 3000)


@pytest.mark.parametrize(
    ("entry", "place", "value", "named"),
    [
        ("manifest.json", ["formats", "weights"], "int3", r"manifest\.json: weights format 'int3' is not known"),
        ("manifest.json", ["generation"], {"do_sample": "yes"}, "generation: do_sample must be true or false"),
        ("manifest.json", ["generation"], {"do_sample": True, "top_p": "much"}, "generation: top_p must be"),
        ("manifest.json", ["generation"], {"do_sample": True, "top_p": 10**400}, "generation: top_p is 1"),
        ("spec.json", ["model_type"], None, r"spec\.json: .*model_type"),
        ("spec.json", ["hidden_size"], "32", r"spec\.json: .*hidden_size must be int"),
        ("spec.json", ["rms_norm_eps"], 10**400, r"spec\.json: rms_norm_eps is 1"),
        ("spec.json", ["hidden_size"], 2**52, "compile it again"),
        ("spec.json", ["vocab_size"], 2**52, "compile it again"),
        ("spec.json", ["max_position_embeddings"], 0, r"spec\.json: .*max_position_embeddings"),
        ("spec.json", ["num_hidden_layers"], 2000, "compile it again"),
        ("spec.json", ["num_hidden_layers"], 2**31, r"spec\.json: num_hidden_layers is 2147483648"),
        ("prompt_format.json", ["stop_ids"], {"a": 1}, r"prompt_format\.json: field stop_ids must be a list"),
        ("prompt_format.json", ["tokenizer"], "{", "tokenizer: is no tokenizer"),
        ("prompt_format.json", ["bos_id"], 260, "tokenizer: has ids up to 260"),
        ("golden.json", [0, "ids"], "x", r"golden\.json: must be a list"),
        ("golden.json", [0], 3, r"golden\.json: must be a list"),
    ],
)
def test_what_a_bundle_from_other_hands_claims_is_refused_by_entry(bundle, tmp_path, entry, place, value, named):
    entries, path = entries_of(bundle), tmp_path / "x.llm"
    document = json.loads(entries[entry])
    node = document
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    sealed(path, entries | {entry: json.dumps(document).encode()})
    started = time.monotonic()
    with pytest.raises(FormatError, match=named) as caught:
        llm.load_model(str(path))
    assert str(path) in str(caught.value)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("config.json", b"", "is not JSON"),
        ("config.json", b"\xff\xfe", "is not JSON"),
        ("config.json", b"[" * 100_000, "is not JSON"),
        ("config.json", b"[]", "is not a JSON object"),
        ("config.json", b"{}", "model_type is missing"),
        ("config.json", b'{"model_type": ["llama"]}', "model_type"),
        (
            "config.json",
            json.dumps(TINY | {"num_hidden_layers": 10**12}).encode(),
            "num_hidden_layers is 1000000000000",
        ),
        ("config.json", json.dumps(TINY | {"num_hidden_layers": 3}).encode(), "missing model.layers.2"),
        ("config.json", json.dumps(TINY | {"vocab_size": 259}).encode(), "weights do not fit the config"),
        ("generation_config.json", b'{"do_sample": true, "temperature": -1}', "temperature is -1"),
        ("generation_config.json", b'{"eos_token_id": "x"}', "eos_token_id must be"),
        ("tokenizer.json", b"", "is no tokenizer.json"),
        ("model.safetensors", b"", "is no safetensors file"),
        ("model.safetensors", b"\x10" + bytes(30), "header"),
    ],
)
def test_a_damaged_folder_is_refused_by_file(folder, tmp_path, file, content, named):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(content if path.name == file else path.read_bytes())
    with pytest.raises(FormatError, match=named) as caught:
        llm.load_model(str(tmp_path))
    assert str(tmp_path / file) in str(caught.value) or "weights do not fit" in named or named.startswith("missing")


@pytest.mark.parametrize(
    "file", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
)
@pytest.mark.parametrize("target", [None, "/proc/self/mem"])
def test_a_folder_or_an_unreadable_file_in_place_of_a_file_is_named(folder, tmp_path, file, target):
    """Nobody can read the first page of a process's own memory."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).unlink()
    if target is None:
        (tmp_path / file).mkdir()
    else:
        (tmp_path / file).symlink_to(target)
    with pytest.raises(UserError, match=file):
        llm.load_model(str(tmp_path))


def test_a_tokenizer_of_another_vocabulary_is_refused(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    document = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    document["model"]["vocab"]["zz"] = 999
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(
        FormatError, match=rf"{tmp_path}: tokenizer: has ids up to 999, the model's vocabulary ends at 259"
    ):
        llm.load_model(str(tmp_path))
