"""Byte pieces (`<0x41>`) of SentencePiece vocabularies, where a run of them is not text.

The `tokenizers` library replaces every byte of a run by U+FFFD as soon as one byte of it is wrong. SentencePiece keeps the
characters that are whole and replaces only the bytes that belong to none
(https://github.com/google/sentencepiece, src/sentencepiece_processor.cc, DecodeSentencePiece); so do we. It is also what makes
decoding incremental: a later byte cannot undo a character before it.
"""

import re
from collections.abc import Iterator
from itertools import groupby

__all__ = ["is_byte_piece", "mend"]

_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def is_byte_piece(token: str) -> bool:
    """Whether a token stands for one byte."""
    return _PIECE.fullmatch(token) is not None


def mend(tokens: list[str]) -> list[str]:
    """The tokens, every byte piece that belongs to no whole character replaced by the token U+FFFD."""
    out: list[str] = []
    for are_bytes, run in groupby(tokens, is_byte_piece):
        part = list(run)
        out += _mended(part) if are_bytes else part
    return out


def _mended(run: list[str]) -> Iterator[str]:
    at = 0
    for character in bytes(int(token[3:5], 16) for token in run).decode("utf-8", "surrogateescape"):
        if "\udc80" <= character <= "\udcff":  # how `surrogateescape` passes on a byte of no character
            yield _REPLACEMENT
            at += 1
        else:
            n = len(character.encode())
            yield from run[at : at + n]
            at += n
