"""Tokenizers of GGUF files that are byte-pair encodings: over bytes (GPT-2's), and over characters with scores (SentencePiece's)."""

from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError
from llmos.text.gguf.splits import SPLITS, Split
from llmos.text.gguf.vocabulary import Kind, Vocabulary
from llmos.text.piece_merges import piece_merges

__all__ = ["byte_level", "sentence_pieces", "split_of"]

_SPACE = "▁"


def split_of(vocabulary: Vocabulary, where: Path) -> Split:
    """How the text of a byte-level vocabulary is cut. Raises FormatError for a name that is not known."""
    split = SPLITS.get(vocabulary.pre or "default")
    if split is None:
        raise FormatError(
            where,
            f"tokenizer.ggml.pre is {vocabulary.pre!r}: how it cuts text is not known; known: {', '.join(sorted(SPLITS))}",
        )
    return split


def byte_level(vocabulary: Vocabulary, where: Path) -> Any:
    """A `tokenizers.Tokenizer` over bytes, written as printable characters, merged in the order of the file's merges."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    split, ids = split_of(vocabulary, where), vocabulary.ids
    if not vocabulary.merges:
        raise FormatError(where, "tokenizer.ggml.merges is missing or empty")
    # llama.cpp merges to pieces that are no tokens too and takes them apart again; no vocabulary has such merges.
    merges = [(a, b) for a, b in vocabulary.merges if a in ids and b in ids and a + b in ids]
    tokenizer = Tokenizer(models.BPE(ids, merges, ignore_merges=split.whole_words))
    isolate = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in split.patterns]
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*isolate, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def sentence_pieces(vocabulary: Vocabulary, where: Path) -> Any:
    """A `tokenizers.Tokenizer` over characters, where the pair that makes the token of the best score is merged first.

    What is no token becomes its bytes (`<0x41>`). A space stands before the text, and behind every special token.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers

    if len(vocabulary.scores) != len(vocabulary.tokens):
        raise FormatError(where, "tokenizer.ggml.scores is missing: a vocabulary of kind llama needs them")
    merged = vocabulary.of_kind(Kind.NORMAL, Kind.USER_DEFINED, Kind.UNUSED)
    pieces = ((vocabulary.tokens[i], vocabulary.scores[i]) for i in merged)
    prefix = vocabulary.flags.get("add_space_prefix", True)
    unknown = vocabulary.named.get("unk_token")
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary.ids,
            piece_merges(pieces, vocabulary.ids, where),
            unk_token=None if unknown is None else vocabulary.tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    before = [normalizers.Prepend(_SPACE)] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", _SPACE)])
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer
