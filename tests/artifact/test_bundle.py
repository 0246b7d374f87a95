"""Bundles: whole or refused; no machine code; weights where they can be mapped."""

import hashlib
import json
import struct
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings

from llmos.artifact import open_bundle, write_bundle
from llmos.core.errors import FormatError, UserError
from tests.mutations import damaged, modest_memory

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
    facts = {"graph": "0" * 64, "formats": {"weights": "int8", "kv": "bf16"}}
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


def read_all(path):
    opened = open_bundle(path)
    out = bytearray(opened.weights_bytes)
    opened.read_weights_into(memoryview(out))
    return {name: opened.document(name) for name in DOCUMENTS}, bytes(out)


def fuzz(tmp_path, examples):
    path = bundle(tmp_path / "a.llm")
    whole = path.read_bytes()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=damaged(whole))
    def holds(data):
        path.write_bytes(data)
        try:
            with modest_memory(2_000_000):
                documents, weights = read_all(path)
        except UserError as error:
            assert str(path) in str(error)
            return
        assert documents == DOCUMENTS
        assert weights == WEIGHTS

    holds()


def test_a_damaged_bundle_is_refused_or_reads_the_same(tmp_path):
    fuzz(tmp_path, 400)


@pytest.mark.slow
def test_many_more_damaged_bundles_are_refused_or_read_the_same(tmp_path):
    fuzz(tmp_path, 10_000)


def entries_of(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(path, entries, **settings):
    """The entries as an archive in which every checksum is right."""
    with zipfile.ZipFile(path, "w", **settings) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def with_manifest(path, **changes):
    entries = entries_of(path)
    manifest = json.loads(entries["manifest.json"]) | changes
    rewritten(path, entries | {"manifest.json": json.dumps(manifest).encode()})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("payload", 3),
        ("payload", "0" * 64),
        ("graph", None),
        ("graph", "g"),
        ("formats", ["int8"]),
        ("formats", {"weights": "int8"}),
        ("formats", {"weights": "int8", "kv": ["bf16"]}),
        ("sha256", []),
        ("sha256", {}),
        ("sha256", {"weights.bin": 3}),
        ("weights_bytes", "16384"),
        ("weights_bytes", True),
        ("weights_bytes", len(WEIGHTS) + 1),
        ("weights_bytes", 1 << 60),
        ("chunk_bytes", None),
        ("chunk_bytes", 0),
        ("chunk_bytes", 1),
        ("chunk_bytes", True),
        ("chunk_bytes", 1 << 40),
        ("generation", [1]),
        ("version", True),
        ("version", "1"),
        ("version", 0),
    ],
)
def test_a_manifest_field_of_the_wrong_kind_is_refused_by_name(tmp_path, field, value):
    path = bundle(tmp_path / "a.llm")
    with_manifest(path, **{field: value})
    named = {"weights_bytes": "weights", "payload": "payload", "sha256": "SHA-256|sha256"}.get(field, field)
    with modest_memory(1_000_000), pytest.raises(FormatError, match=named) as caught:
        open_bundle(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 100_000, "9" * 10_000, '"\xff"'])
def test_a_manifest_that_is_none_is_refused(tmp_path, text):
    path = bundle(tmp_path / "a.llm")
    rewritten(path, entries_of(path) | {"manifest.json": text.encode("latin-1")})
    with pytest.raises(FormatError, match=r"manifest\.json"):
        open_bundle(path)


def test_a_document_of_another_kind_is_refused_by_name(tmp_path):
    for name in DOCUMENTS:
        path = tmp_path / f"{name}.llm"
        write_bundle(
            path,
            documents=DOCUMENTS | {name: "text"},
            facts={"graph": "0" * 64, "formats": {"weights": "int8", "kv": "bf16"}},
            weights=memoryview(WEIGHTS),
        )
        with pytest.raises(FormatError, match=rf"{name}\.json holds str"):
            open_bundle(path).document(name)


def test_changed_weights_are_refused_even_with_a_right_checksum(tmp_path):
    path = bundle(tmp_path / "a.llm")
    rewritten(path, entries_of(path) | {"weights.bin": WEIGHTS[:-1] + b"\0"})
    with pytest.raises(FormatError, match=r"weights\.bin is not what the manifest says"):
        read_all(path)


def small_chunks(monkeypatch):
    """Several chunks in a small file."""
    monkeypatch.setattr("llmos.artifact.bundle.CHUNK_BYTES", 5000)
    monkeypatch.setattr("llmos.artifact.manifest._CHUNK_BYTES", range(1000, 10000))


def test_weights_of_several_chunks_are_hashed_in_order(tmp_path, monkeypatch):
    small_chunks(monkeypatch)
    path, seen = bundle(tmp_path / "a.llm"), []
    monkeypatch.setattr("llmos.artifact.bundle.CHUNK_BYTES", 9999)  # a reader goes by the manifest
    opened, out = open_bundle(path), bytearray(len(WEIGHTS))
    opened.read_weights_into(memoryview(out), lambda done, total: seen.append((done, total)), threads=3)
    assert bytes(out) == WEIGHTS
    assert seen == [(done, 16384) for done in (5000, 10000, 15000, 16384)]
    chunks = [hashlib.sha256(WEIGHTS[at : at + 5000]).digest() for at in range(0, 16384, 5000)]
    assert opened.manifest["sha256"]["weights.bin"] == hashlib.sha256(b"".join(chunks)).hexdigest()


@pytest.mark.parametrize("at", [0, 5000, 16383])
def test_a_flipped_bit_in_any_chunk_is_found(tmp_path, monkeypatch, at):
    small_chunks(monkeypatch)
    path = bundle(tmp_path / "a.llm")
    rewritten(path, entries_of(path) | {"weights.bin": WEIGHTS[:at] + bytes([WEIGHTS[at] ^ 1]) + WEIGHTS[at + 1 :]})
    with pytest.raises(FormatError, match=r"weights\.bin is not what the manifest says"):
        open_bundle(path).read_weights_into(memoryview(bytearray(len(WEIGHTS))), threads=2)


def test_a_bundle_without_weights_is_read(tmp_path):
    path = tmp_path / "a.llm"
    facts = {"graph": "0" * 64, "formats": {"weights": "int8", "kv": "bf16"}}
    write_bundle(path, documents=DOCUMENTS, facts=facts, weights=memoryview(b""))
    assert read_all(path) == (DOCUMENTS, b"")


@pytest.mark.parametrize("name", [*(f"{name}.json" for name in DOCUMENTS), "LICENSE"])
def test_a_changed_entry_is_refused_when_the_bundle_is_opened(tmp_path, name):
    path = bundle(tmp_path / "a.llm")
    rewritten(path, entries_of(path) | {name: b'{"changed": true}'})
    with pytest.raises(FormatError, match=rf"{name} is not what the manifest says"):
        open_bundle(path)


def test_an_entry_that_the_manifest_does_not_name_is_refused(tmp_path):
    path = bundle(tmp_path / "a.llm")
    rewritten(path, entries_of(path) | {"README": b"pay here"})
    with pytest.raises(FormatError, match="README is not in its manifest"):
        open_bundle(path)


def test_an_entry_that_only_the_manifest_names_is_missing(tmp_path):
    path = bundle(tmp_path / "a.llm")
    rewritten(path, {name: data for name, data in entries_of(path).items() if name != "LICENSE"})
    with pytest.raises(FormatError, match="has no entry LICENSE"):
        open_bundle(path)


def test_models_of_different_contexts_are_different_models(tmp_path):
    payloads = [
        write_bundle(
            tmp_path / "a.llm",
            documents=DOCUMENTS | {"spec": {"model_type": "llama", "max_position_embeddings": context}},
            facts={"graph": "0" * 64, "formats": {"weights": "int8", "kv": "bf16"}},
            weights=memoryview(WEIGHTS),
        )
        for context in (64, 128)
    ]
    assert payloads[0] != payloads[1]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_entries_are_refused_unread(tmp_path, method):
    path = bundle(tmp_path / "a.llm")
    entries = entries_of(path) | {"spec.json": b"[" + b" " * 50_000_000 + b"]"}
    rewritten(path, entries, compression=method)
    with modest_memory(1_000_000), pytest.raises(FormatError, match="compressed"):
        open_bundle(path)


def test_an_entry_that_claims_to_be_stored_but_has_two_sizes_is_refused(tmp_path):
    path = bundle(tmp_path / "a.llm")
    data = bytearray(path.read_bytes())
    at = data.rindex(b"spec.json") - 46  # its record in the directory
    struct.pack_into("<I", data, at + 24, 2**31)
    path.write_bytes(data)
    with modest_memory(1_000_000), pytest.raises(FormatError, match=r"spec\.json is compressed"):
        open_bundle(path)
    struct.pack_into("<I", data, at + 20, 2**31)
    path.write_bytes(data)
    with modest_memory(1_000_000), pytest.raises(FormatError, match=r"spec\.json ends beyond the file"):
        open_bundle(path)


def test_two_entries_of_one_name_are_refused(tmp_path):
    path = bundle(tmp_path / "a.llm")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("spec.json", "{}")
    with pytest.raises(FormatError, match=r"two entries spec\.json"):
        open_bundle(path)


def test_a_missing_entry_is_named(tmp_path):
    for name in [*(f"{name}.json" for name in DOCUMENTS), "weights.bin", "manifest.json"]:
        path = bundle(tmp_path / "a.llm")
        entries = entries_of(path)
        del entries[name]
        rewritten(path, entries)
        with pytest.raises(FormatError, match=rf"no entry {name}"):
            open_bundle(path)


def test_an_archive_of_thousands_of_entries_is_refused(tmp_path):
    rewritten(tmp_path / "a.llm", {str(i): b"" for i in range(2000)})
    with pytest.raises(FormatError, match="it has 2000 entries"):
        open_bundle(tmp_path / "a.llm")


def test_a_document_too_large_to_be_one_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("llmos.artifact.bundle._MOST_DOCUMENT_BYTES", 1000)
    path = bundle(tmp_path / "a.llm")
    rewritten(path, entries_of(path) | {"manifest.json": b" " * 1001})
    with pytest.raises(FormatError, match=r"manifest\.json has 1001 bytes, 1000 at most"):
        open_bundle(path)


def test_weights_over_four_gigabytes_are_found(tmp_path, monkeypatch):
    """Their sizes lie in an extra field; a smaller limit stands for the real one."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10_000)
    path = bundle(tmp_path / "a.llm")
    assert read_all(path) == (DOCUMENTS, WEIGHTS)
    assert path.read_bytes().index(WEIGHTS) % 4096 == 0


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\5\6" + bytes(18), b"\x80\x04K\x03.", b"x" * 5000])
def test_what_is_no_archive_is_refused(tmp_path, data):
    (tmp_path / "a.llm").write_bytes(data)
    with pytest.raises(FormatError, match=r"a\.llm: is no LLMOS bundle"):
        open_bundle(tmp_path / "a.llm")


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*x\.llm"):
        open_bundle(tmp_path / "x.llm")
    with pytest.raises(UserError, match="Is a directory"):
        open_bundle(tmp_path)


def test_a_newer_manifest_is_refused(tmp_path):
    path = bundle(tmp_path / "a.llm")
    with_manifest(path, version=99)
    with pytest.raises(UserError, match="99"):
        open_bundle(path)
