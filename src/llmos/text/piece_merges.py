"""The merges of a SentencePiece BPE vocabulary, which states none: every way to put a piece together from two is one.

Their order is that of transformers (`generate_merges` in tokenization_utils_base.py): the best score first; of equal scores the
longer left part, so that a run grows from its left, as in SentencePiece, which takes the leftmost of equal pairs; then the
longer right part; then the order of pieces.
"""

from collections.abc import Container, Iterable
from pathlib import Path

from llmos.core.errors import FormatError

__all__ = ["piece_merges"]

_MOST_SPLIT_CHARACTERS = 1 << 26  # looked at in all ways to part all pieces in two; real vocabularies need a tenth


def piece_merges(
    pieces: Iterable[tuple[str, float]], parts: Container[str], where: str | Path
) -> list[tuple[str, str]]:
    """Pairs of parts that make a piece, in the order in which they are applied.

    pieces: texts with scores, in the order of ids; parts: texts that may be put together. Raises FormatError, naming `where`,
    for pieces of a length that takes too long to look at.
    """
    found, looked_at = [], 0
    for text, score in pieces:
        looked_at += len(text) ** 2
        if looked_at > _MOST_SPLIT_CHARACTERS:
            raise FormatError(where, "the pieces of its vocabulary are longer than those of any model")
        pairs = ((text[:k], text[k:]) for k in range(1, len(text)))
        found += [(-score, -len(a), -len(b), a, b) for a, b in pairs if a in parts and b in parts]
    return [(a, b) for *_, a, b in sorted(found, key=lambda merge: merge[:3])]
