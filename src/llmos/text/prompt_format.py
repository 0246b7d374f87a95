"""The prompt format: tokenizer, chat template, special and stop tokens as one object with one hash.

It belongs to the model: the trainer writes it, the bundle carries it, every face uses it. Golden token ids of a fixed text
set go with it, so that another implementation of the tokenizer can prove that it gives the same ids.
"""

import hashlib
import json
import reprlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError
from llmos.text.llama2c import read_pieces, tokenizer_of_pieces
from llmos.text.model_files import is_id, is_ids, is_text, is_texts_by_name
from llmos.text.tokenizer_folder import read_folder

__all__ = ["GOLDEN_TEXTS", "PromptFormat"]

GOLDEN_TEXTS = (
    "",
    "Once upon a time, there was a little girl.",
    "  two spaces, a tab\tand a line\nbreak ",
    "Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich. 图书馆 🦙",
    "def f(x):\n    return x ** 2  # 3.14159",
)


@dataclass(frozen=True, kw_only=True)
class PromptFormat:
    """tokenizer: the text of a tokenizer.json. special: names such as bos_token to their text, for templates.

    add_bos: whether encoding puts bos_id first by itself where the tokenizer's own rules do not. named_templates: those for
    uses of their own, such as tool_use. sentencepiece: how text is encoded with the vocabulary, see `sentencepiece.Rules`.
    """

    tokenizer: str
    chat_template: str | None = None
    bos_id: int | None = None
    stop_ids: tuple[int, ...] = ()
    add_bos: bool = False
    special: dict[str, str] = field(default_factory=dict)
    named_templates: dict[str, str] = field(default_factory=dict)
    sentencepiece: dict[str, Any] | None = None

    @classmethod
    def load(cls, folder: Path) -> "PromptFormat":
        """From a Hugging Face folder. Raises UserError where it has no vocabulary that is read, FormatError for damaged files."""
        return cls.read(folder)[0]

    @classmethod
    def unapplied(cls, folder: Path) -> list[str]:
        """`name=value` of what the tokenizer settings of a folder ask for and is not done. Raises as `load` does."""
        return cls.read(folder)[1]

    @classmethod
    def read(cls, folder: Path) -> tuple["PromptFormat", list[str]]:
        """What `load` and `unapplied` give, from one reading of the files, which may be large."""
        values, unapplied = read_folder(folder)
        return cls.from_dict(values, where=folder), unapplied

    @classmethod
    def from_llama2c(cls, path: Path, vocab: int) -> "PromptFormat":
        """From a llama2.c tokenizer.bin: SentencePiece BPE pieces with scores, as a `tokenizers` BPE with byte fallback."""
        pieces = read_pieces(path, vocab)
        return cls(
            tokenizer=tokenizer_of_pieces(pieces),
            bos_id=1,
            stop_ids=(1, 2),
            add_bos=True,
            special={"bos_token": pieces[1][0], "eos_token": pieces[2][0]},
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"stop_ids": list(self.stop_ids)}

    @classmethod
    def from_dict(cls, raw: object, where: str | Path = "prompt format") -> "PromptFormat":
        """What `to_dict` gave. Raises FormatError that begins with `where` for anything else, naming the field."""
        if not isinstance(raw, dict):
            raise FormatError(where, f"is not a JSON object but {reprlib.repr(raw)}")
        unknown = raw.keys() - _FIELDS.keys()
        if unknown:
            raise FormatError(
                where, f"has unknown fields: {', '.join(sorted(unknown))}; a newer LLMOS may have written it"
            )
        if "tokenizer" not in raw:
            raise FormatError(where, "has no field tokenizer")
        for name, value in raw.items():
            fits, wanted = _FIELDS[name]
            if not fits(value):
                raise FormatError(where, f"field {name} must be {wanted}, not {reprlib.repr(value)}")
        return cls(**{**raw, "stop_ids": tuple(raw.get("stop_ids", ()))})

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "tokenizer": (is_text, "text"),
    "chat_template": (lambda value: value is None or is_text(value), "text or null"),
    "bos_id": (lambda value: value is None or is_id(value), "a token id or null"),
    "stop_ids": (is_ids, "a list of token ids"),
    "add_bos": (lambda value: isinstance(value, bool), "true or false"),
    "special": (is_texts_by_name, "an object of texts"),
    "named_templates": (is_texts_by_name, "an object of texts"),
    "sentencepiece": (lambda value: value is None or isinstance(value, dict), "an object or null"),
}
