"""Ids to text as they come, never half a character."""

from llmos.text.tokenizer import Tokenizer

__all__ = ["Decoder"]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LONGEST_PART = 3  # bytes of an unfinished UTF-8 character, each of which may decode to U+FFFD
_ENOUGH = (
    8  # characters of context, so that neither its cut beginning nor the first token's leading space reaches the end
)
_LONG = 64  # bytes in a row that are no text, after which a new context begins among them


class Decoder:
    """Incremental decoding.

    The pieces joined are `Tokenizer.decode` of prefix and ids together, without the beginning that this has in common with the
    decoding of the prefix alone. So a character that the prefix leaves unfinished is given out whole when it is completed.
    After every push all text is out that no further id can change: everything but U+FFFD at the very end, three at most, since
    these may be the beginning of a character. `finish` gives them out. Text given out is never taken back.
    """

    def __init__(self, tokenizer: Tokenizer, prefix: list[int] | None = None):
        self._tokenizer = tokenizer
        self._window = _tail(tokenizer, prefix or [])  # what is decoded at each push: some context, then `_new`
        self._new: list[int] = []  # ids since the context
        self._shown = tokenizer.decode(self._window)  # the beginning of the window's text that is out or the prefix's

    def push(self, id: int) -> str:
        """The text that is certain now; empty while a character is incomplete."""
        self._window.append(id)
        self._new.append(id)
        text = self._tokenizer.decode(self._window)
        n_open = len(text) - len(text.rstrip(_REPLACEMENT))
        piece = self._give(text[: len(text) - min(n_open, _LONGEST_PART)])
        if piece and n_open == 0:
            self._window, self._new = self._new, []
            self._shown = self._tokenizer.decode(self._window)
        elif n_open >= _LONG:
            self._shorten(len(text) - len(self._shown))
        return piece

    def finish(self) -> str:
        """What is left when no more ids come."""
        return self._give(self._tokenizer.decode(self._window))

    def _give(self, sure: str) -> str:
        """What of the window's text is new."""
        piece = sure[_common(sure, self._shown) :]
        if piece:
            self._shown = sure
        return piece

    def _shorten(self, n_held: int) -> None:
        """Keep only the end of a window that ends in many bytes which are no text, so that a push stays cheap."""
        window = self._window[-_LONG // 2 :]
        text = self._tokenizer.decode(window)
        if text.endswith(_REPLACEMENT * _ENOUGH):
            self._window, self._new, self._shown = window, list(window), text[: len(text) - n_held]


def _common(a: str, b: str) -> int:
    """Length of the common beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def _tail(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """The last ids, as many as are needed for `_ENOUGH` characters of text."""
    n = 2 * _ENOUGH
    while n < len(ids) and len(tokenizer.decode(ids[-n:])) < _ENOUGH:
        n *= 2
    return list(ids[-n:])
