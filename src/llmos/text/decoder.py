"""Ids to text as they come, never half a character."""

from llmos.text.tokenizer import Tokenizer

__all__ = ["Decoder"]

_REPLACEMENT = "�"


class Decoder:
    """Incremental decoding. The pieces joined equal the decoding of all ids at once.

    Text is given out once it no longer depends on what follows: a tail that ends in U+FFFD may still become a character.
    The window of ids that is decoded again moves on with every piece given out.
    """

    def __init__(self, tokenizer: Tokenizer, prefix: list[int] | None = None):
        self._tokenizer = tokenizer
        self._ids: list[int] = list(prefix or [])
        self._start = max(0, len(self._ids) - 8)  # where decoding begins
        self._given = len(self._ids)  # ids whose text has been given out

    def push(self, id: int) -> str:
        """The text that is certain now; empty while a character is incomplete."""
        self._ids.append(id)
        before, now = self._texts()
        if now.endswith(_REPLACEMENT) and len(self._ids) - self._given < 8:
            return ""
        if not now.startswith(before):
            return ""
        self._start, self._given = self._given, len(self._ids)
        return now[len(before) :]

    def finish(self) -> str:
        """What is left when no more ids come."""
        before, now = self._texts()
        self._start = self._given = len(self._ids)
        return now[len(before) :] if now.startswith(before) else now

    def _texts(self) -> tuple[str, str]:
        decode = self._tokenizer.decode
        return decode(self._ids[self._start : self._given]), decode(self._ids[self._start :])
