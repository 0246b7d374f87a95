"""Bundles: whole or refused; no machine code; weights where they can be mapped."""

import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.artifact import open_bundle, write_bundle
from llmos.core.errors import UserError

DOCUMENTS = {
    "spec": {"model_type": "llama"},
    "graph": {"nodes": []},
    "prompt_format": None,
    "golden": [],
    "lineage": {"source": "x"},
    "reports": {},
}
WEIGHTS = bytes(range(256)) * 64


def bundle(path):
    facts = {"graph": "g", "formats": {"weights": "int8", "kv": "bf16"}}
    write_bundle(path, documents=DOCUMENTS, facts=facts, weights=memoryview(WEIGHTS), licence="none")
    return path


def test_what_is_written_is_read_and_equal_models_give_equal_bytes(tmp_path):
    path = bundle(tmp_path / "a.llm")
    opened = open_bundle(path)
    for name, value in DOCUMENTS.items():
        assert opened.document(name) == value
    out = bytearray(len(WEIGHTS))
    opened.read_weights_into(memoryview(out))
    assert bytes(out) == WEIGHTS
    opened.verify()
    assert path.read_bytes() == bundle(tmp_path / "b.llm").read_bytes()


def test_entries_are_stored_and_weights_begin_at_a_page(tmp_path):
    path = bundle(tmp_path / "a.llm")
    with zipfile.ZipFile(path) as archive:
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert {info.filename for info in archive.infolist()} == {f"{n}.json" for n in DOCUMENTS} | {
            "manifest.json",
            "weights.bin",
            "LICENSE",
        }
    assert path.read_bytes().index(WEIGHTS) % 4096 == 0


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_bundle(tmp_path / "a.llm", documents=DOCUMENTS | {"spec": object()}, facts={}, weights=memoryview(b""))
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 1 << 20), flip=st.integers(1, 255), cut=st.integers(0, 3000))
def test_a_mutated_bundle_is_refused_or_reads_the_same(tmp_path_factory, at, flip, cut):
    folder = tmp_path_factory.mktemp("bundle")
    path = bundle(folder / "a.llm")
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= flip
    path.write_bytes(data[: len(data) - cut])
    try:
        opened = open_bundle(path)
        documents = {name: opened.document(name) for name in DOCUMENTS}
        out = bytearray(min(opened.weights_bytes, 1 << 20))
        opened.read_weights_into(memoryview(out))
    except UserError as error:
        assert str(path) in str(error)
        return
    assert documents == DOCUMENTS
    assert bytes(out) == WEIGHTS


def test_a_newer_manifest_is_refused(tmp_path):
    path = tmp_path / "a.llm"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", '{"version": 99}')
    with pytest.raises(UserError, match="99"):
        open_bundle(path)
