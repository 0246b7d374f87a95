"""What may follow in a sequence: a guess from its own ids, as llama.cpp's lookup decoding and vLLM's n-gram speculator make it.

An index leads from the last few ids to the place behind their latest earlier occurrence. A place once found is followed for as
long as it foretells what comes, so that a text that is copied is read along with. How often a place is right is seen from the
ids that come anyway: what drafts would be worth is known without a single one.
"""

from itertools import islice

__all__ = ["Lookup"]

_SIZES = (4, 2)  # ids of an n-gram, the better witness first; two find back into a text quickly after an edit
_FIRST_CHANCES = (
    0.0,
    0.0,
    0.3,
    0.5,
    0.7,
    0.85,
    0.9,
)  # by the bits of the number of ids that agree, until more is known
_RATE = 1 / 8  # by which a chance moves to what was seen last


class Lookup:
    """Index over `ids`, a list that others only append to.

    place: of the id that should come next, None where nothing is known; agreeing: ids before it that are as those at the end.
    """

    def __init__(self, ids: list[int]):
        self._ids = ids
        self._behind: dict[tuple[int, ...], int] = {}  # n-gram -> the place behind its latest occurrence
        self._n = 0  # ids that are indexed
        self._chances = list(_FIRST_CHANCES)
        self.place: int | None = None
        self.agreeing = 0

    def follow(self) -> None:
        """Take in the ids that were appended. What was there at first is not counted as foretold or not."""
        ids, behind = self._ids, self._behind
        if self._n == 0 and ids:
            self._take_in_all(len(ids) - 1)
        for at in range(self._n, len(ids)):
            if self.place is not None:
                self._compare(ids[at])
            for size in _SIZES:
                if at + 1 < size:
                    continue
                gram = tuple(ids[at + 1 - size : at + 1])
                if self.place is None and gram in behind:
                    self.place, self.agreeing = behind[gram], size
                behind[gram] = at + 1
        self._n = len(ids)

    def guess(self, most: int) -> list[int]:
        """At most so many ids that should come next. Where the place is less far from the end, what lies between is repeated."""
        if self.place is None or most <= 0:
            return []
        following = self._ids[self.place : self.place + most]
        while len(following) < most:
            following += following[: most - len(following)]
        return following

    def chances(self, n: int) -> list[float]:
        """The chance that the first of n guessed ids is right, that the first two are, and so on: it falls."""
        together, out = 1.0, []
        for agreeing in range(self.agreeing, self.agreeing + n):
            together *= self._chances[_kind(agreeing)]
            out.append(together)
        return out

    def _take_in_all(self, n: int) -> None:
        for size in _SIZES:
            grams = zip(*(islice(self._ids, first, n) for first in range(size)), strict=False)
            self._behind.update(zip(grams, range(size, n + 1), strict=False))
        self._n = n

    def _compare(self, id: int) -> None:
        """Go on behind the place where it foretold the id, give it up where it did not."""
        assert self.place is not None
        right, kind = self._ids[self.place] == id, _kind(self.agreeing)
        self._chances[kind] += (right - self._chances[kind]) * _RATE
        self.place, self.agreeing = (self.place + 1, self.agreeing + 1) if right else (None, 0)


def _kind(agreeing: int) -> int:
    return min(agreeing.bit_length(), len(_FIRST_CHANCES) - 1)
