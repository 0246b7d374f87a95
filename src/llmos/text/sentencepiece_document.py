"""A SentencePiece model as a `tokenizers` tokenizer and the rules that go with it.

As transformers does it (convert_slow_tokenizer.py): pieces keep their ids.
"""

import base64
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError
from llmos.text.piece_merges import piece_merges
from llmos.text.sentencepiece import Rules
from llmos.text.sentencepiece_file import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, SentencePieceFile
from llmos.text.sentencepiece_normalizer import SPACE

__all__ = ["tokenizer_of_sentencepiece"]


def tokenizer_of_sentencepiece(file: SentencePieceFile, where: str | Path) -> tuple[Any, Rules]:
    """A `tokenizers.Tokenizer` with model, control tokens and decoder, and the rules for encoding with it.

    Raises FormatError for a model that wants what is not done.
    """
    from tokenizers import AddedToken, Tokenizer, decoders

    _check(file, where)
    tokenizer = Tokenizer(_bpe(file, where) if file.kind == "bpe" else _unigram(file))
    strip = [decoders.Strip(" ", 1, 0)] if file.add_dummy_prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    control = [piece.text for piece in file.pieces if piece.kind in (CONTROL, UNKNOWN)]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in control])
    rules = Rules(
        kind=file.kind,
        unk_id=file.unk_id,
        charsmap=base64.b64encode(file.charsmap).decode(),
        prefix=file.add_dummy_prefix,
        remove_extra_spaces=file.remove_extra_whitespaces,
        byte_fallback=file.byte_fallback,
        hidden=_of_kind(file, CONTROL, UNKNOWN, BYTE, UNUSED),
        user_defined=_of_kind(file, USER_DEFINED),
    )
    return tokenizer, rules


def _check(file: SentencePieceFile, where: str | Path) -> None:
    if file.whitespace_is_suffix:
        raise FormatError(where, "puts spaces behind words (treat_whitespace_as_suffix), which is not done")
    if not file.escape_whitespaces:
        raise FormatError(where, "keeps spaces as they are (escape_whitespaces is false), which is not done")
    if file.kind == "bpe" and _of_kind(file, UNUSED):
        raise FormatError(where, "is a BPE model with pieces that are marked unused, which is not done")


def _of_kind(file: SentencePieceFile, *kinds: int) -> tuple[int, ...]:
    return tuple(i for i, piece in enumerate(file.pieces) if piece.kind in kinds)


def _unigram(file: SentencePieceFile) -> Any:
    from tokenizers import models

    vocab = [(piece.text, piece.score) for piece in file.pieces]
    return models.Unigram(vocab, unk_id=file.unk_id, byte_fallback=file.byte_fallback)


def _bpe(file: SentencePieceFile, where: str | Path) -> Any:
    from tokenizers import models

    vocab = {piece.text: i for i, piece in enumerate(file.pieces)}
    normal = {piece.text: piece.score for piece in file.pieces if piece.kind == NORMAL}
    merges = piece_merges(normal.items(), normal, where)
    unknown = file.pieces[file.unk_id].text
    return models.BPE(vocab, merges, unk_token=unknown, fuse_unk=True, byte_fallback=file.byte_fallback)
