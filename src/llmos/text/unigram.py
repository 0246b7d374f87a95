"""SentencePiece's unigram model: the pieces of a text whose scores have the largest sum.

Sums are float32 as SentencePiece keeps them, and of equal ones the first found stays, so that a run such as `-----` falls into
the same pieces. The `tokenizers` library adds in float64, which breaks such ties otherwise.

Source: https://github.com/google/sentencepiece, src/unigram_model.cc, EncodeOptimized, as of 0.2.3. The score of
user-defined pieces was found from what that version answers; older ones took it from the largest score of the model.
"""

import ctypes
from collections.abc import Collection, Sequence

__all__ = ["Unigram"]

_UNKNOWN_PENALTY = 10.0
_BONUS = 0.1  # of a user-defined piece, for each of its bytes after the first
_LARGE = 1e5


class Unigram:
    """pieces: (text, score) by id. hidden: ids that no text gives. user_defined: ids that are taken wherever they occur."""

    def __init__(
        self, pieces: Sequence[tuple[str, float]], unk_id: int, hidden: Collection[int], user_defined: Collection[int]
    ):
        self._unk_id = unk_id
        ordinary = [score for id, (_, score) in enumerate(pieces) if id not in hidden and id not in user_defined]
        self._unknown = _float32(min(ordinary, default=0.0) - _UNKNOWN_PENALTY)
        self._pieces: dict[str, tuple[int, float]] = {}
        lengths: dict[str, set[int]] = {}
        for id, (text, score) in enumerate(pieces):
            if id not in hidden:
                bonus = _float32(_BONUS * len(text.encode()) - _BONUS)
                self._pieces[text] = id, bonus if id in user_defined else score
                lengths.setdefault(text[:2], set()).add(len(text))
        self._lengths = {start: tuple(sorted(found)) for start, found in lengths.items()}

    def encode(self, text: str) -> list[tuple[int, str]]:
        """(id, text) of each piece; a character that no piece has is one of the unknown id."""
        paths = _Paths(len(text))
        for at in range(len(text)):
            self._extend(paths, text, at)
        found, end = [], len(text)
        while end:
            start = paths.starts[end]
            found.append((paths.ids[end], text[start:end]))
            end = start
        return found[::-1]

    def _extend(self, paths: "_Paths", text: str, at: int) -> None:
        """Take the pieces that begin at a place."""
        here, alone = paths.score_at(at), False
        first, two = self._lengths.get(text[at], ()), text[at : at + 2]
        for length in first + self._lengths.get(two, ()) if len(two) == 2 else first:
            piece = self._pieces.get(text[at : at + length])
            if piece is not None and at + length <= len(text):
                alone |= length == 1
                paths.offer(at + length, here + piece[1], at, piece[0])
        if not alone:
            paths.offer(at + 1, here + self._unknown, at, self._unk_id)


class _Paths:
    """For each place of a text, of the best pieces that end there: their sum, where the last one starts, and its id."""

    def __init__(self, n: int):
        self.scores, self.starts, self.ids = [0.0] * (n + 1), [-1] * (n + 1), [0] * (n + 1)
        self._furthest = 0
        self._float32 = ctypes.c_float()

    def score_at(self, at: int) -> float:
        """The best sum at a place. One that grew large is taken from itself and from those further on, to keep digits."""
        here = self.scores[at]
        if here >= -_LARGE:
            return here
        for end in range(at, self._furthest + 1):
            self._float32.value = self.scores[end] - here
            self.scores[end] = self._float32.value
        return 0.0

    def offer(self, end: int, score: float, start: int, id: int) -> None:
        """Keep a way to a place if it is the first one or better than all before."""
        self._float32.value = score
        if self.starts[end] < 0 or self._float32.value > self.scores[end]:
            self.scores[end], self.starts[end], self.ids[end] = self._float32.value, start, id
            self._furthest = max(self._furthest, end)


def _float32(value: float) -> float:
    return ctypes.c_float(value).value
