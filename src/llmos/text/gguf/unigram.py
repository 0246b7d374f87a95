"""Unigram vocabularies of GGUF files (T5, XLM-RoBERTa): what a SentencePiece model file says, in the keys of the metadata."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError
from llmos.text.gguf.vocabulary import Vocabulary
from llmos.text.sentencepiece import Rules
from llmos.text.sentencepiece_document import tokenizer_of_sentencepiece
from llmos.text.sentencepiece_file import BYTE, Piece, SentencePieceFile

__all__ = ["unigram"]


def unigram(vocabulary: Vocabulary, where: Path) -> tuple[Any, Rules]:
    """A `tokenizers.Tokenizer` with special tokens, and the rules for encoding with it: the end behind a text included."""
    unknown = vocabulary.named.get("unk_token")
    if unknown is None:
        raise FormatError(where, "a vocabulary of kind t5 needs tokenizer.ggml.unknown_token_id")
    if len(vocabulary.scores) != len(vocabulary.tokens):
        raise FormatError(where, "tokenizer.ggml.scores is missing: a vocabulary of kind t5 needs them")
    tokenizer, rules = tokenizer_of_sentencepiece(_file(vocabulary, unknown), where)
    end = vocabulary.named.get("eos_token") if vocabulary.flags.get("add_eos_token", True) else None
    return tokenizer, replace(rules, prefix_after_special=True, after=() if end is None else (end,))


def _file(vocabulary: Vocabulary, unknown: int) -> SentencePieceFile:
    pieces = zip(vocabulary.tokens, vocabulary.scores, vocabulary.kinds, strict=True)
    return SentencePieceFile(
        kind="unigram",
        pieces=tuple(Piece(text, score, kind) for text, score, kind in pieces),
        unk_id=unknown,
        bos_id=vocabulary.named.get("bos_token"),
        eos_id=vocabulary.named.get("eos_token"),
        byte_fallback=BYTE in vocabulary.kinds,
        charsmap=vocabulary.charsmap,
        add_dummy_prefix=vocabulary.flags.get("add_space_prefix", False),
        remove_extra_whitespaces=vocabulary.flags.get("remove_extra_whitespaces", False),
        escape_whitespaces=True,
        whitespace_is_suffix=False,
    )
