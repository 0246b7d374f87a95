"""Text in pieces: the whole in the end, everything certain at once, nothing taken back; for random ids too."""

import struct
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.hub import resolve
from llmos.text import Decoder, PromptFormat, Tokenizer

HALF = "\N{REPLACEMENT CHARACTER}"
SMALL_PIECES = ["▁", "a", "b", "▁a", "ab", "é", "▁é", "\n", "…"]


@pytest.fixture(scope="module")
def byte_level() -> Tokenizer:
    return Tokenizer(PromptFormat.load(resolve("llmos-mini").path))


@pytest.fixture(scope="module")
def byte_fallback(tmp_path_factory) -> Tokenizer:
    """The smallest vocabulary of the llama2.c kind: unknown, beginning, end, 256 bytes, a few pieces."""
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.bin"
    pieces = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{i:02X}>" for i in range(256)), *SMALL_PIECES]
    encoded = [piece.replace("▁", " ").encode() for piece in pieces]
    path.write_bytes(struct.pack("<i", 9) + b"".join(struct.pack("<fi", -i, len(t)) + t for i, t in enumerate(encoded)))
    return Tokenizer(PromptFormat.from_llama2c(path, len(pieces)))


@pytest.fixture(scope="module")
def stories(data_dir) -> Tokenizer:
    return Tokenizer(PromptFormat.from_llama2c(data_dir / "real-weights" / "tok512.bin", 512))


@cache
def vocab_size(tokenizer: Tokenizer) -> int:
    return tokenizer.vocab_size


@cache
def byte_ids(tokenizer: Tokenizer) -> list[int]:
    """The id of each single byte."""
    vocab = tokenizer._tokenizer.get_vocab()
    if "<0x41>" in vocab:
        return [vocab[f"<0x{byte:02X}>"] for byte in range(256)]
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]  # as GPT-2 writes bytes as letters
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [vocab[letters[byte]] for byte in range(256)]


def of_bytes(tokenizer: Tokenizer, data: bytes) -> list[int]:
    ids = byte_ids(tokenizer)
    return [ids[byte] for byte in data]


# Bytes that begin, continue and break characters, and ids of any kind.
PARTS = st.lists(
    st.one_of(
        st.binary(max_size=5),
        st.sampled_from(["€", "🦙", "é", "\N{REPLACEMENT CHARACTER}", " ", "▁"]).map(str.encode),
        st.sampled_from([b"\xe2\x82", b"\xf0\x9f\xa6", b"\xac", b"\x99", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf"]),
        st.integers(0, 2**32),
    ),
    max_size=12,
)


def ids_of(tokenizer: Tokenizer, parts: list[bytes | int]) -> list[int]:
    ids: list[int] = []
    size = vocab_size(tokenizer)
    for part in parts:
        ids += of_bytes(tokenizer, part) if isinstance(part, bytes) else [part % size]
    return ids


def certain(text: str) -> str:
    """A text without what may still be the beginning of a character."""
    return text[: max(len(text.rstrip(HALF)), len(text) - 3)]


def without_common_beginning(text: str, other: str) -> str:
    n = 0
    while text[n : n + 1] == other[n : n + 1] != "":
        n += 1
    return text[n:]


def check(tokenizer: Tokenizer, prefix: list[int], ids: list[int]) -> None:
    decoder, given, sure = Decoder(tokenizer, prefix), "", ""
    before = tokenizer.decode(prefix)
    for n, id in enumerate(ids, start=1):
        given += decoder.push(id)
        sure = max(sure, certain(tokenizer.decode(prefix + ids[:n])), key=len)
        assert given == without_common_beginning(sure, before), (prefix, ids[:n])
    given += decoder.finish()
    whole = tokenizer.decode(prefix + ids)
    assert given == without_common_beginning(whole, before), (prefix, ids)
    assert decoder.finish() == ""


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback", "stories"])
def test_pieces_of_random_ids_are_the_whole_and_come_as_soon_as_they_are_certain(kind, request):
    tokenizer = request.getfixturevalue(kind)

    @settings(max_examples=300, deadline=None)
    @given(prefix=PARTS, parts=PARTS)
    def holds(prefix, parts):
        check(tokenizer, ids_of(tokenizer, prefix), ids_of(tokenizer, parts))

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback", "stories"])
def test_pieces_of_many_more_random_ids_are_the_whole(kind, request):
    tokenizer = request.getfixturevalue(kind)

    @settings(max_examples=4000, deadline=None)
    @given(prefix=PARTS, parts=PARTS)
    def holds(prefix, parts):
        check(tokenizer, ids_of(tokenizer, prefix), ids_of(tokenizer, parts))

    holds()


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
@pytest.mark.parametrize("character", ["é", "€", "🦙"])
def test_a_character_that_the_prompt_leaves_unfinished_is_given_out_whole(kind, character, request):
    tokenizer = request.getfixturevalue(kind)
    data = b"ab" + character.encode() + b"c"
    for cut in range(3, len(data) - 1):
        decoder = Decoder(tokenizer, of_bytes(tokenizer, data[:cut]))
        pieces = [decoder.push(id) for id in of_bytes(tokenizer, data[cut:])]
        assert pieces == [""] * (len(data) - cut - 2) + [character, "c"]


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
def test_thousands_of_bytes_that_are_no_text_stream_without_slowing_down(kind, request):
    tokenizer = request.getfixturevalue(kind)
    ids = of_bytes(tokenizer, b"\xff" * 3000 + b"\xe2\x82" * 500 + "€".encode())
    decoder = Decoder(tokenizer, of_bytes(tokenizer, b"\xff" * 200))
    pieces, longest = [], 0
    for id in ids:
        pieces.append(decoder.push(id))
        longest = max(longest, len(decoder._window))
    assert "".join(pieces) + decoder.finish() == tokenizer.decode(ids)
    assert longest < 400


def test_a_run_of_byte_pieces_keeps_its_whole_characters(byte_fallback):
    """As SentencePiece decodes; the `tokenizers` library alone would give nine U+FFFD."""
    ids = of_bytes(byte_fallback, "é€".encode() + b"\xff" + "é".encode() + b"\xe2")
    assert byte_fallback.decode(ids) == f"é€{HALF}é{HALF}"
    assert byte_fallback.decode(of_bytes(byte_fallback, "é€ 🦙".encode())) == "é€ 🦙"


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback", "stories"])
def test_text_decodes_as_the_library_decodes_it(kind, request):
    tokenizer = request.getfixturevalue(kind)

    @settings(max_examples=200, deadline=None)
    @given(text=st.text(max_size=30))
    def holds(text):
        ids = tokenizer.encode(text)
        for skip in (True, False):
            expected = tokenizer._tokenizer.decode(ids, skip_special_tokens=skip)
            assert tokenizer.decode(ids, skip_special=skip) == expected

    holds()
