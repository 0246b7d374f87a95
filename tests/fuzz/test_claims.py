"""Files that claim, or ask for, far more than they hold: refused at once, with memory in proportion to the file."""

import json
import resource
import struct
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmos.artifact import open_bundle
from llmos.core.errors import FormatError, UserError
from llmos.text import PromptFormat, Tokenizer, render_chat
from llmos.text.sentencepiece_file import parse
from llmos.weights import GgufFile
from llmos.weights.safetensors import SafetensorsFile
from tests.mutations import modest_memory
from tests.tiny_tokenizer import tokenizer_text


@contextmanager
def timely(limit_s: float = 10) -> Iterator[None]:
    """Little time of the processor."""
    started = time.process_time()
    yield
    assert time.process_time() - started < limit_s


@contextmanager
def cheap(limit_bytes: int = 1 << 20) -> Iterator[None]:
    """Little memory and little time."""
    with timely(), modest_memory(limit_bytes):
        yield


def text(value: bytes, claims: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if claims is None else claims) + value


def gguf(tensors: int = 0, fields: int = 0, body: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, fields) + body + bytes(64)


def gguf_list(kind: int, n: int) -> bytes:
    return text(b"a") + struct.pack("<IIQ", 9, kind, n)


def gguf_tensor(*shape: int, offset: int = 0) -> bytes:
    return text(b"t") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)


GGUF = {
    "2**40 tensors": gguf(tensors=2**40),
    "2**40 fields": gguf(fields=2**40),
    "2**63 fields": gguf(fields=2**63),
    "a list of 2**40 texts": gguf(fields=1, body=gguf_list(8, 2**40)),
    "a list of 2**60 numbers": gguf(fields=1, body=gguf_list(10, 2**60)),
    "a text of 2**60 bytes": gguf(fields=1, body=text(b"a", 2**60)),
    "a tensor of 2**120 values": gguf(tensors=1, body=gguf_tensor(2**60, 2**60)),
    "a tensor of none": gguf(tensors=1, body=gguf_tensor(2**32, 0)),
    "2**31 experts": gguf(tensors=1, body=gguf_tensor(1, 1, 2**31)),
    "an offset of 2**63": gguf(tensors=1, body=gguf_tensor(1, offset=2**63)),
    "2**31 dimensions": gguf(tensors=1, body=text(b"t") + struct.pack("<I", 2**31)),
}


@pytest.mark.parametrize("claim", GGUF)
def test_what_a_gguf_file_claims_is_not_believed(tmp_path, claim):
    (tmp_path / "x.gguf").write_bytes(GGUF[claim])
    with cheap(), pytest.raises(FormatError, match=r"x\.gguf"):
        GgufFile(tmp_path / "x.gguf")


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize("claim", [2**20, 2**31, 2**60, 2**64 - 1])
@pytest.mark.parametrize("within", [False, True])
def test_a_length_in_a_sentencepiece_model_is_not_believed(claim, within):
    message = b"\x0a" + varint(claim) + b"x"
    with cheap(), pytest.raises(FormatError, match=f"claims {claim} bytes"):
        parse(b"\x0a" + varint(len(message)) + message if within else message, "x.model")


@pytest.mark.parametrize("size", [2**31, 2**32 - 2])
@pytest.mark.parametrize("name", ["manifest.json", "weights.bin"])
def test_the_size_of_an_entry_of_a_bundle_is_not_believed(tmp_path, name, size):
    path = tmp_path / "x.llm"
    names = [
        "manifest.json",
        "spec.json",
        "graph.json",
        "prompt_format.json",
        "golden.json",
        "lineage.json",
        "reports.json",
    ]
    with zipfile.ZipFile(path, "w") as archive:
        for each in (*names, "weights.bin"):
            archive.writestr(each, "{}")
    data = bytearray(path.read_bytes())
    at = data.index(name.encode(), data.index(b"PK\1\2")) - 46
    struct.pack_into("<II", data, at + 20, size, size)
    path.write_bytes(data)
    with cheap(), pytest.raises(FormatError, match=f"{name} ends beyond the file"):
        open_bundle(path)


def test_an_entry_of_terabytes_is_refused(tmp_path):
    """Sizes in the 64-bit fields of the directory."""
    path = tmp_path / "x.llm"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.bin", "{}")
    data = path.read_bytes()
    at = data.index(b"PK\1\2")
    extra = struct.pack("<HHQQ", 1, 16, 2**42, 2**42)
    entry = bytearray(data[at : at + 46 + len("weights.bin")])
    struct.pack_into("<II", entry, 20, 2**32 - 1, 2**32 - 1)
    struct.pack_into("<H", entry, 30, len(extra))
    end = bytearray(data[-22:])
    struct.pack_into("<I", end, 12, len(entry) + len(extra))
    path.write_bytes(data[:at] + entry + extra + end)
    assert zipfile.ZipFile(path).infolist()[0].file_size == 2**42
    with cheap(), pytest.raises(FormatError, match=r"weights\.bin ends beyond the file"):
        open_bundle(path)


@pytest.mark.parametrize("piece", [b"[", b'{"a":', b"[],", b'"":{},'])
def test_a_header_of_100_megabytes_of_nesting_is_refused(tmp_path, piece):
    path = tmp_path / "x.safetensors"
    n = 99_999_990 // len(piece)
    with path.open("wb") as file:
        file.write((n * len(piece) + 1).to_bytes(8, "little") + (b"{" if piece[-1:] == b"," else b" "))
        file.write(piece * n)
    with cheap(limit_bytes=101_000_000), pytest.raises(FormatError, match="nested as none of tensors is"):
        SafetensorsFile(path)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", r"(\w+\s?)*$", "(a*)*(a*)*b$"])
@pytest.mark.parametrize("part", ["pre_tokenizer", "normalizer"])
def test_a_regular_expression_that_goes_back_for_ever_is_given_up(part, pattern):
    """The library's own limit of 10**7 steps for a match; how often it is reached depends on the text."""
    document = json.loads(tokenizer_text())
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    replace = {"type": "Replace", "pattern": {"Regex": pattern}, "content": ""}
    if part == "pre_tokenizer":
        document[part] = {"type": "Sequence", "pretokenizers": [split, document[part]]}
    else:
        document[part] = replace
    tokenizer = Tokenizer(PromptFormat(tokenizer=json.dumps(document)), "x")
    with timely():
        try:
            tokenizer.encode("a" * 5000 + "!")
        except FormatError as error:
            assert "cannot encode" in str(error)


LOOPS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "{% set n = namespace(v='ab') %}{% for i in range(99) %}{% set n.v = n.v ~ n.v %}{% endfor %}{{ n.v }}",
    "{% set n = namespace(v=[1]) %}{% for i in range(99) %}{% set n.v = n.v + n.v %}{% endfor %}{{ n.v }}",
    "{{ 'a' * 10 ** 10 }}",
    "{{ 9 ** 999999 }}",
]


@pytest.mark.parametrize("source", LOOPS)
def test_a_template_without_end_is_stopped(source):
    format = PromptFormat(tokenizer="", chat_template=source)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with timely(30), pytest.raises(UserError, match="refuses this conversation"):
        render_chat(format, [{"role": "user", "content": "x"}])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # KiB


def test_a_file_that_is_damaged_is_named_by_its_path(tmp_path):
    path: Path = tmp_path / "x.gguf"
    path.write_bytes(GGUF["2**40 tensors"])
    with pytest.raises(FormatError) as caught:
        GgufFile(path)
    assert caught.value.path == path and caught.value.offset == 8
