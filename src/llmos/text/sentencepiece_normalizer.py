"""How a SentencePiece model wants its text: characters replaced, spaces taken together and written as U+2581.

Source: https://github.com/google/sentencepiece, src/normalizer.cc, Normalize.
"""

import re
from collections.abc import Sequence

from llmos.text.charsmap import CharsMap

__all__ = ["SPACE", "Normalizer", "any_of"]

SPACE = "▁"


class Normalizer:
    """Normalises as a model file says. protected: user-defined symbols, which stay as they are."""

    def __init__(
        self, charsmap: CharsMap | None, *, prefix: bool, remove_extra_spaces: bool, protected: Sequence[str] = ()
    ):
        self._charsmap, self._prefix, self._remove = charsmap, prefix, remove_extra_spaces
        self._protected = any_of(protected) if protected else None

    def normalize(self, text: str, *, prefix: bool = True) -> str:
        """The text with spaces as U+2581. prefix: put one before it where the model wants that.

        Spaces taken together leave none at the end, U+2581 of the text itself included.
        """
        parts = self._parts(text)
        if self._remove:
            parts = _without_extra_spaces(parts)
        out = "".join(parts).replace(" ", SPACE)
        if self._prefix and prefix and text:
            out = SPACE + out
        return out.rstrip(SPACE) if self._remove else out

    def _parts(self, text: str) -> list[str]:
        """The replaced text in pieces that were replaced, protected or left at once."""
        if self._protected is None:
            return self._replaced(text)
        out, at = [], 0
        for symbol in self._protected.finditer(text):
            out += [*self._replaced(text[at : symbol.start()]), symbol[0]]
            at = symbol.end()
        return out + self._replaced(text[at:])

    def _replaced(self, text: str) -> list[str]:
        if self._charsmap is None:
            return [*text] if self._remove else [text]
        raw, at, out = text.encode(), 0, []
        while at < len(raw):
            rule = self._charsmap.longest(raw, at)
            size = rule[1] if rule else _character_bytes(raw[at])
            out.append(rule[0] if rule else raw[at : at + size].decode())
            at += size
        return out


def any_of(texts: Sequence[str]) -> re.Pattern[str]:
    """A pattern of the longest of some texts that begins at a place."""
    return re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)))


def _without_extra_spaces(parts: list[str]) -> list[str]:
    """Without the spaces that follow a space or begin the text."""
    out, after_space = [], True
    for part in parts:
        kept = part.lstrip(" ") if after_space else part
        if kept:
            out.append(kept)
            after_space = kept.endswith(" ")
    return out


def _character_bytes(first: int) -> int:
    """Length of a UTF-8 character by its first byte."""
    return 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
