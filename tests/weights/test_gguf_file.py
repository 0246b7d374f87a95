"""GGUF files as checkpoints: written by the `gguf` package, read by us; and files that claim what is not so."""

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from llmos.core.errors import FormatError, LlmosError, UserError
from llmos.weights import GgufFile, gguf_parts
from tests.gguf_files import KINDS, PLAIN, dequantised, plain, random_rows, write
from tests.mutations import damaged, modest_memory

METADATA = {
    "test.count": 7,
    "test.large": 2**31,
    "test.eps": 0.5,
    "test.flag": True,
    "test.name": "zwölf",
    "test.texts": ["a", "", "図"],
    "test.numbers": [1, 2, 3],
    "test.floats": [0.5, -1.5],
}


def tensors() -> dict:
    values = np.random.default_rng(0).normal(size=(6, 256)).astype(np.float32)
    out = {f"t.{kind}": plain(kind, values) for kind in PLAIN} | {
        f"t.{kind}": random_rows(kind, 6, 256) for kind in KINDS
    }
    return out | {"norm": plain("F32", values[0])}


def test_a_file_gives_what_the_package_wrote(tmp_path):
    stored = tensors()
    file = GgufFile(write(tmp_path / "x.gguf", "test", METADATA, stored))
    assert file.files() == [tmp_path / "x.gguf"] and file.names() == list(stored)
    for name, value in METADATA.items():
        found = file.metadata[name]
        assert (found.tolist() if isinstance(found, np.ndarray) else found) == value
        assert type(found) in (type(value), np.ndarray)
    for name, (data, type_) in stored.items():
        tensor = file.tensor(name)
        assert np.array_equal(tensor.float32(), dequantised((data, type_)))
        assert tensor.dtype == {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}.get(
            type_.name, type_.name.lower()
        )
    assert file.types()["F32"] == 2 and file.types()["Q4_K"] == 1


def test_the_matrices_of_experts_are_tensors_of_their_own(tmp_path):
    data, type = random_rows("Q4_K", 12, 256)
    path = write(tmp_path / "x.gguf", "test", {}, {"blk.0.ffn_up_exps.weight": (data.reshape(3, 4, -1), type)})
    file = GgufFile(path)
    assert file.names() == [f"blk.0.ffn_up_exps.{e}.weight" for e in range(3)]
    second = file.tensor("blk.0.ffn_up_exps.1.weight")
    assert second.shape == (4, 256)
    assert np.array_equal(second.float32(), dequantised((data, type))[4:8])


@pytest.mark.parametrize("parts", [{}, {"split_max_tensors": 1}], ids=["one file", "two files"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_stack_and_one_of_its_matrices_by_name_are_refused(parts, turned, tmp_path):
    stack = random_rows("Q4_K", 12, 256)
    stored = {"up_exps.weight": (stack[0].reshape(3, 4, -1), stack[1]), "up_exps.2.weight": random_rows("Q4_K", 4, 256)}
    path = write(tmp_path / "x.gguf", "test", {}, dict(reversed(stored.items()) if turned else stored), **parts)
    path = path if path.exists() else min(tmp_path.iterdir())
    with pytest.raises(FormatError, match=r"'up_exps.weight' and 'up_exps.2.weight' hold the same matrix"):
        GgufFile(path)
    del stored["up_exps.2.weight"]
    assert GgufFile(write(tmp_path / "y.gguf", "test", {}, stored)).types() == {"Q4_K": 1}


def test_parts_are_one_model(tmp_path):
    stored = tensors()
    write(tmp_path / "x.gguf", "test", METADATA, stored, split_max_tensors=5)
    parts = sorted(tmp_path.iterdir())
    assert [part.name for part in parts] == [f"x-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    for given_part in parts:
        file = GgufFile(given_part)
        assert file.files() == parts and set(file.names()) == set(stored) and file.metadata["test.name"] == "zwölf"
        for name, (data, type) in stored.items():
            assert np.array_equal(file.tensor(name).float32(), dequantised((data, type)))


def test_parts_that_are_missing_or_exchanged_are_refused(tmp_path):
    write(tmp_path / "x.gguf", "test", METADATA, tensors(), split_max_tensors=5)
    first, second, third = sorted(tmp_path.iterdir())
    third.rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"x-00003-of-00003\.gguf"):
        GgufFile(first)
    third.write_bytes(second.read_bytes())
    with pytest.raises(FormatError, match="says that it is part 1, not 2"):
        GgufFile(first)
    alone = first.rename(tmp_path / "alone.gguf")
    with pytest.raises(FormatError, match="one of 3 parts"):
        GgufFile(alone)


def test_a_name_of_many_parts_is_no_long_list(tmp_path):
    assert len(gguf_parts(tmp_path / "x-00001-of-99999.gguf")) <= 10_000


def header(version=3, n_tensors=0, n_fields=0, rest=b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_fields) + rest


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


def tensor(name=b"t", dimensions=(4,), type=0, offset=0, n_dimensions=None) -> bytes:
    n = len(dimensions) if n_dimensions is None else n_dimensions
    return text(name) + struct.pack(f"<I{len(dimensions)}QIQ", n, *dimensions, type, offset)


def field(kind: int, value: bytes, name=b"k") -> bytes:
    return text(name) + struct.pack("<I", kind) + value


CLAIMS = {
    "not GGUF": (b"GGML" + bytes(60), "does not begin with GGUF"),
    "version 1": (header(1) + bytes(60), "version 1; versions 2 and 3"),
    "big endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "too many tensors": (header(n_tensors=2**63), "claims 9223372036854775808 tensors"),
    "too many fields": (header(n_fields=2**40), "claims 1099511627776 fields"),
    "text longer than the file": (header(n_fields=1, rest=text(b"k", 1000) + bytes(99)), "cut off or damaged"),
    "text of 2**64": (header(n_fields=1, rest=text(b"k", 2**64 - 1) + bytes(99)), "claims a text of"),
    "no UTF-8": (header(n_fields=1, rest=field(8, text(b"\xff\xff"))), "not UTF-8"),
    "long list": (header(n_fields=1, rest=field(9, struct.pack("<IQ", 4, 2**61))), "numbers in 'k'"),
    "long list of texts": (header(n_fields=1, rest=field(9, struct.pack("<IQ", 8, 2**40))), "texts in 'k'"),
    "list of lists": (header(n_fields=1, rest=field(9, struct.pack("<IQ", 9, 1)) + bytes(40)), "list of lists"),
    "unknown type of a field": (header(n_fields=1, rest=field(13, bytes(40))), "unknown type 13"),
    "unknown type of a list": (header(n_fields=1, rest=field(9, struct.pack("<IQ", 77, 1))), "unknown type 77"),
    "half truth": (header(n_fields=1, rest=field(7, b"\2")), "true .1. and false"),
    "field twice": (header(n_fields=2, rest=2 * field(0, b"\1")), "field 'k' is there twice"),
    "alignment": (
        header(n_fields=1, rest=field(4, struct.pack("<I", 24), b"general.alignment")),
        "general.alignment is 24",
    ),
    "alignment of text": (header(n_fields=1, rest=field(8, text(b"32"), b"general.alignment")), "'32'"),
    "many dimensions": (header(n_tensors=1, rest=tensor(n_dimensions=2**31)), "claims 2147483648 dimensions"),
    "no dimension": (header(n_tensors=1, rest=tensor(n_dimensions=0)), "claims 0 dimensions"),
    "empty shape": (header(n_tensors=1, rest=tensor(dimensions=(4, 0))), "shape .0, 4."),
    "huge shape": (header(n_tensors=1, rest=tensor(dimensions=(2**32, 2**32, 2**32))), "which is none"),
    "cut off": (header(n_tensors=1, rest=tensor(dimensions=(400,))) + bytes(100), "cut off"),
    "far away": (header(n_tensors=1, rest=tensor(offset=2**63)) + bytes(100), "cut off"),
    "crooked": (header(n_tensors=1, rest=tensor(offset=4)) + bytes(100), "multiple of the alignment"),
    "part of a block": (header(n_tensors=1, rest=tensor(type=2, dimensions=(33,))), "blocks of 32 .Q4_0."),
    "IQ2_XXS": (header(n_tensors=1, rest=tensor(type=16, dimensions=(256,))), "type IQ2_XXS.*known: F32, F16, Q4_0"),
    "unknown type": (header(n_tensors=1, rest=tensor(type=1000)), "number 1000"),
    "overlap": (
        header(n_tensors=2, rest=tensor(b"a", (16,)) + tensor(b"b", (16,), offset=32)) + bytes(400),
        "'a' and 'b' overlap",
    ),
    "tensor twice": (header(n_tensors=2, rest=tensor() + tensor(offset=32)) + bytes(400), "'t' is there twice"),
    "many experts": (header(n_tensors=1, rest=tensor(dimensions=(1, 1, 2**21))) + bytes(2**23 + 64), "matrices"),
    "short": (b"GGUF", "at least 24 are needed"),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_that_is_not_so_is_refused_with_little_memory(tmp_path, claim):
    data, message = CLAIMS[claim]
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with modest_memory(1_000_000), pytest.raises(FormatError, match=f"x.gguf.*{message}"):
        GgufFile(path)


def test_version_2_is_read(tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes(header(2, n_tensors=1, rest=tensor(dimensions=(2, 1))).ljust(96, b"\0") + struct.pack("<2f", 1, 2))
    assert GgufFile(path).tensor("t").float32().tolist() == [[1, 2]]


def test_headers_end_somewhere(tmp_path, monkeypatch):
    monkeypatch.setattr("llmos.weights.gguf.header._MOST_HEADER_BYTES", 100)
    path = tmp_path / "x.gguf"
    path.write_bytes(header(n_fields=1, rest=field(8, text(bytes(90)))))
    with pytest.raises(FormatError, match="header of more than 100 bytes"):
        GgufFile(path)


def read_all(path) -> None:
    file = GgufFile(path)
    for name in file.names():
        file.tensor(name).float32().sum()


def fuzz(tmp_path, examples: int) -> None:
    path = write(tmp_path / "x.gguf", "test", METADATA | {"general.alignment": 32}, tensors())
    data = path.read_bytes()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=damaged(data))
    def holds(data):
        path.write_bytes(data)
        try:
            with modest_memory(3_000_000), np.errstate(all="ignore"):
                read_all(path)
        except LlmosError as error:
            assert str(path) in str(error)
        finally:
            path.unlink()  # the next example must not shorten a file that is still mapped

    holds()


def test_a_damaged_file_is_refused_or_read(tmp_path):
    fuzz(tmp_path, 300)


@pytest.mark.slow
def test_many_more_damaged_files_are_refused_or_read(tmp_path):
    fuzz(tmp_path, 10_000)
