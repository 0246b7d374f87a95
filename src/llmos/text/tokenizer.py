"""Text to ids and back, through the `tokenizers` library."""

import reprlib
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer as _Tokenizer

from llmos.core.errors import FormatError, UserError
from llmos.text.byte_pieces import is_byte_piece, mend
from llmos.text.prompt_format import GOLDEN_TEXTS, PromptFormat
from llmos.text.sentencepiece import Rules, SentencePiece
from llmos.text.tokenizer_failures import failures

__all__ = ["Tokenizer"]


class Tokenizer:
    """The tokenizer of a prompt format."""

    def __init__(self, format: PromptFormat, where: str = "tokenizer.json"):
        self.format, self._where = format, where
        with failures(where, "is no tokenizer"):
            self._tokenizer = _Tokenizer.from_str(format.tokenizer)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = {id for id, token in added.items() if token.special}
        self._byte_ids = self._find_byte_ids()
        self._sentencepiece = None if format.sentencepiece is None else self._make_sentencepiece(format.sentencepiece)

    @property
    def vocab_size(self) -> int:
        """Ids that the tokenizer may give: 0 .. vocab_size - 1, added tokens included."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def check_vocab(self, vocab: int) -> None:
        """Raise FormatError when the tokenizer has ids that the model has no row for."""
        largest = max(self.vocab_size - 1, self.format.bos_id or 0)
        if largest >= vocab:
            raise FormatError(
                self._where,
                f"has ids up to {largest}, the model's vocabulary ends at {vocab - 1}: they do not belong together",
            )

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Ids of a text. special: put the beginning-of-text token first where the model wants one.

        Raises UserError for text that UTF-8 cannot hold, FormatError where the tokenizer cannot do what it says.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"the text is not Unicode: half of a surrogate pair at character {error.start}") from error
        with failures(self._where, "cannot encode"):
            if self._sentencepiece is not None:
                ids = self._sentencepiece.encode(text, special=special)
            else:
                ids = self._tokenizer.encode(text, add_special_tokens=special).ids
        bos = self.format.bos_id
        if special and self.format.add_bos and bos is not None and (not ids or ids[0] != bos):
            ids = [bos, *ids]
        return ids

    def encode_up_to(self, text: str, most: int) -> tuple[list[int], int]:
        """At most `most` ids of a text, and how many it has: what is too much goes from its end, marks put around it stay.

        Raises as `encode` does, and UserError where `most` has no room for more than those marks.
        """
        ids = self.encode(text)
        if len(ids) <= most:
            return ids, len(ids)
        plain = self.encode(text, special=False)
        marks = len(ids) - len(plain)
        before = _place(plain, ids)
        if before is None or most <= marks:
            raise UserError(f"a text of {len(ids)} tokens cannot be cut to {most}: {marks} of them are marks around it")
        return [*ids[:before], *plain[: most - marks], *ids[before + len(plain) :]], len(ids)

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of ids; bytes that are no whole character come out as U+FFFD, ids that do not exist as nothing."""
        with failures(self._where, "cannot decode"):
            try:
                if self._byte_ids.isdisjoint(ids):
                    return self._tokenizer.decode(list(ids), skip_special_tokens=skip_special)
                tokens = [self._tokenizer.id_to_token(id) for id in ids if not (skip_special and id in self._special)]
            except (OverflowError, TypeError) as error:
                raise UserError(f"token ids are whole numbers from 0 to 2**32 - 1: {error}") from error
            return self._tokenizer.decoder.decode(mend([token for token in tokens if token is not None]))

    def golden(self) -> list[dict]:
        """Ids of the fixed text set."""
        return [{"text": text, "ids": self.encode(text)} for text in GOLDEN_TEXTS]

    def verify_golden(self, golden: object, where: str = "golden ids") -> None:
        """Raise UserError when this tokenizer gives other ids than those recorded, FormatError when they are no record."""
        entries: list[Any] = golden if isinstance(golden, list) else [golden]
        for entry in entries:
            known = (
                isinstance(entry, dict) and isinstance(entry.get("text"), str) and isinstance(entry.get("ids"), list)
            )
            if not known:
                raise FormatError(where, f"must be a list of objects with text and ids, not {reprlib.repr(entry)}")
            ids = self.encode(entry["text"])
            if ids != entry["ids"]:
                raise UserError(
                    f"{where}: the tokenizer gives other ids than were recorded with the model for {entry['text']!r}: "
                    f"{ids} instead of {reprlib.repr(entry['ids'])}; another version of the tokenizers library may be installed"
                )

    def _make_sentencepiece(self, raw: dict[str, Any]) -> SentencePiece:
        with failures(self._where, "is no SentencePiece vocabulary"):
            return SentencePiece(Rules.from_dict(raw, self._where), self._tokenizer, self._where)

    def _find_byte_ids(self) -> set[int]:
        """Ids of the byte pieces, where the tokenizer decodes such pieces to bytes."""
        decoder = self._tokenizer.decoder
        if decoder is None or decoder.decode(["<0x41>"]) != "A":
            return set()
        return {id for token, id in self._tokenizer.get_vocab().items() if is_byte_piece(token)}


def _place(part: list[int], whole: list[int]) -> int | None:
    """Where a list stands within another, None where it does not."""
    starts = range(len(whole) - len(part) + 1)
    return next((start for start in starts if whole[start : start + len(part)] == part), None)
