"""A SentencePiece model file: its pieces, its kind, and how it wants text to be normalised.

Source: https://github.com/google/sentencepiece, src/sentencepiece_model.proto. A field that changes nothing about ids and
text (how it was trained, self tests) is passed over; the kinds WORD and CHAR, which no language model uses, are refused.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmos.core.errors import FormatError, UserError
from llmos.core.files import read_file
from llmos.text.protobuf import fields

__all__ = [
    "BYTE",
    "CONTROL",
    "NORMAL",
    "UNKNOWN",
    "UNUSED",
    "USER_DEFINED",
    "Piece",
    "SentencePieceFile",
    "read_sentencepiece",
]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

_LONGEST_PIECE_BYTES = 1024  # every way to split a piece is looked at
_KINDS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary; its id is its place. kind: NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED or BYTE."""

    text: str
    score: float
    kind: int = NORMAL


@dataclass(frozen=True, kw_only=True)
class SentencePieceFile:
    """What a model file says. charsmap: compiled rules of normalisation, empty where text stays as it is.

    unk_id, bos_id, eos_id: ids of the unknown piece and the ends of a text; None where there is none.
    """

    kind: Literal["unigram", "bpe"]
    pieces: tuple[Piece, ...]
    unk_id: int
    bos_id: int | None
    eos_id: int | None
    byte_fallback: bool
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool
    whitespace_is_suffix: bool


def read_sentencepiece(path: Path) -> SentencePieceFile:
    """The model in a file. Raises FormatError for what is none, with the offset, UserError where it cannot be read."""
    try:
        raw = read_file(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return parse(raw, path)


def parse(raw: bytes, where: str | Path) -> SentencePieceFile:
    """As `read_sentencepiece`, of the bytes of a file."""
    pieces: list[Piece] = []
    trainer: dict[int, int] = {}
    normalizer: dict[int, int | bytes] = {}
    denormalizes = False
    for number, value, at in fields(memoryview(raw), where):
        if number not in (1, 2, 3, 5):
            continue
        if isinstance(value, int):
            raise FormatError(where, f"is no SentencePiece model: field {number} is a number", offset=at)
        if number == 1:
            pieces.append(_piece(value, where, at))
        elif number == 2:
            trainer |= {n: v for n, v, _ in fields(value, where, at) if isinstance(v, int)}
        elif number == 3:
            normalizer |= {n: v if isinstance(v, int) else bytes(v) for n, v, _ in fields(value, where, at)}
        else:
            denormalizes = any(n == 2 and v for n, v, _ in fields(value, where, at))
    if denormalizes:
        raise FormatError(where, "changes text after decoding (denormalizer_spec), which LLMOS does not do")
    return _checked(pieces, trainer, normalizer, where)


def _piece(data: memoryview, where: str | Path, at: int) -> Piece:
    text, score, kind = "", 0.0, NORMAL
    for number, value, place in fields(data, where, at):
        if number == 1 and isinstance(value, memoryview):
            text = _text(value, where, place)
        elif number == 2 and isinstance(value, memoryview) and len(value) == 4:
            (score,) = struct.unpack("<f", value)
        elif number == 3 and isinstance(value, int):
            kind = value
    if kind not in (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE):
        raise FormatError(where, f"piece {text!r} is of an unknown kind {kind}", offset=at)
    if not text or score != score or abs(score) == float("inf"):
        raise FormatError(where, f"piece {text!r} has score {score}: it must be text and a finite number", offset=at)
    return Piece(text, score, kind)


def _text(value: memoryview, where: str | Path, at: int) -> str:
    if len(value) > _LONGEST_PIECE_BYTES:
        raise FormatError(where, f"a piece has {len(value)} bytes; {_LONGEST_PIECE_BYTES} are allowed", offset=at)
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise FormatError(where, "a piece is not UTF-8 text", offset=at + error.start) from error


def _checked(
    pieces: list[Piece], trainer: dict[int, int], normalizer: dict[int, int | bytes], where: str | Path
) -> SentencePieceFile:
    if not pieces:
        raise FormatError(where, "is no SentencePiece model: it has no pieces")
    kind = _KINDS.get(trainer.get(3, 1))
    if kind not in ("unigram", "bpe"):
        raise FormatError(where, f"is a model of kind {kind or trainer[3]}; unigram and bpe are read")
    unknown = [i for i, piece in enumerate(pieces) if piece.kind == UNKNOWN]
    if len(unknown) != 1:
        raise FormatError(where, f"has {len(unknown)} unknown pieces; a SentencePiece model has one")
    if len({piece.text for piece in pieces}) < len(pieces):
        raise FormatError(where, "has a piece twice")
    byte_fallback = bool(trainer.get(35, 0))
    missing = byte_fallback and {piece.text for piece in pieces if piece.kind == BYTE} != _BYTE_PIECES
    if missing:
        raise FormatError(where, "wants to fall back to bytes and has not exactly one piece for each, <0x00> to <0xFF>")
    charsmap = normalizer.get(2, b"")
    return SentencePieceFile(
        kind="bpe" if kind == "bpe" else "unigram",
        pieces=tuple(pieces),
        unk_id=unknown[0],
        bos_id=_control(pieces, trainer.get(41, 1)),
        eos_id=_control(pieces, trainer.get(42, 2)),
        byte_fallback=byte_fallback,
        charsmap=charsmap if isinstance(charsmap, bytes) else b"",
        add_dummy_prefix=bool(normalizer.get(3, 1)),
        remove_extra_whitespaces=bool(normalizer.get(4, 1)),
        escape_whitespaces=bool(normalizer.get(5, 1)),
        whitespace_is_suffix=bool(trainer.get(24, 0)),
    )


_BYTE_PIECES = {f"<0x{byte:02X}>" for byte in range(256)}


def _control(pieces: list[Piece], id: int) -> int | None:
    """The id where it is that of a control piece. Negative numbers, which say that there is none, come as large ones."""
    return id if id < len(pieces) and pieces[id].kind == CONTROL else None
