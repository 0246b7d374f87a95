"""Text to ids and back, through the `tokenizers` library."""

from collections.abc import Sequence

from tokenizers import Tokenizer as _Tokenizer

from llmos.core.errors import FormatError, UserError
from llmos.text.prompt_format import GOLDEN_TEXTS, PromptFormat

__all__ = ["Tokenizer"]


class Tokenizer:
    """The tokenizer of a prompt format."""

    def __init__(self, format: PromptFormat, where: str = "tokenizer.json"):
        self.format, self._where = format, where
        try:
            self._tokenizer = _Tokenizer.from_str(format.tokenizer)
        except Exception as error:  # the library raises bare Exception for whatever it cannot parse
            raise FormatError(where, f"is no tokenizer: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @property
    def vocab_size(self) -> int:
        """Ids that the tokenizer may give: 0 .. vocab_size - 1, added tokens included."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def check_vocab(self, vocab: int) -> None:
        """Raise FormatError when the tokenizer has ids that the model has no row for."""
        if self.vocab_size > vocab:
            raise FormatError(
                self._where,
                f"has ids up to {self.vocab_size - 1}, the model's vocabulary ends at {vocab - 1}: they do not belong together",
            )

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Ids of a text. special: put the beginning-of-text token first where the model wants one."""
        ids = self._tokenizer.encode(text, add_special_tokens=special).ids
        bos = self.format.bos_id
        if special and self.format.add_bos and bos is not None and (not ids or ids[0] != bos):
            ids = [bos, *ids]
        return ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of ids; incomplete characters come out as U+FFFD."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=skip_special)

    def golden(self) -> list[dict]:
        """Ids of the fixed text set."""
        return [{"text": text, "ids": self.encode(text)} for text in GOLDEN_TEXTS]

    def verify_golden(self, golden: list[dict]) -> None:
        """Raise UserError when this tokenizer gives other ids than those recorded."""
        for entry in golden:
            ids = self.encode(entry["text"])
            if ids != entry["ids"]:
                raise UserError(
                    f"the tokenizer gives other ids than were recorded with the model for {entry['text']!r}: {ids} instead of {entry['ids']}; "
                    "another version of the tokenizers library may be installed"
                )
