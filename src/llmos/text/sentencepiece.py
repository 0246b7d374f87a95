"""Text to ids as SentencePiece does it, around a vocabulary that the `tokenizers` library holds.

The library has no exact part for its normalisation (see `charsmap`), its ties (see `unigram`) and its symbols, so these are
done here; the merging of BPE pieces is the library's. What a model file says beyond pieces and merges is kept as plain
data, `Rules`, which a prompt format carries.
"""

import base64
import json
import reprlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError
from llmos.text.charsmap import CharsMap
from llmos.text.sentencepiece_normalizer import Normalizer, any_of
from llmos.text.unigram import Unigram

__all__ = ["Rules", "SentencePiece"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """kind: "bpe" or "unigram". charsmap: rules of normalisation in base64, or nothing.

    prefix: a space before the text; prefix_after_special: also before what follows a special token. hidden: ids that no text
    gives, such as those of control pieces. user_defined: ids whose text is taken wherever it occurs. after: ids put behind a text.
    """

    kind: str
    unk_id: int
    charsmap: str = ""
    prefix: bool = True
    prefix_after_special: bool = False
    remove_extra_spaces: bool = True
    byte_fallback: bool = False
    hidden: tuple[int, ...] = ()
    user_defined: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, raw: dict[str, Any], where: str | Path) -> "Rules":
        """What `to_dict` gave. Raises FormatError for anything else, naming the field."""
        kinds = {field.name: field.type for field in fields(cls)}
        for name, value in raw.items():
            if not _fits(value, kinds.get(name)):
                raise FormatError(where, f"sentencepiece: field {name!r} cannot be {reprlib.repr(value)}")
        if raw.get("kind") not in ("bpe", "unigram") or "unk_id" not in raw:
            raise FormatError(where, "sentencepiece: kind must be bpe or unigram, and unk_id must be stated")
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in raw.items()}
        return cls(**values)


def _fits(value: object, kind: object) -> bool:
    if kind == tuple[int, ...]:
        return isinstance(value, list | tuple) and all(_fits(item, int) for item in value)
    return type(value) is kind and (kind is not int or 0 <= value < 2**31)  # type: ignore[operator]


class SentencePiece:
    """Encodes with the vocabulary of a `tokenizers.Tokenizer`. Raises FormatError where the rules do not belong to it."""

    def __init__(self, rules: Rules, tokenizer: Any, where: str):
        self._rules, self._tokenizer, self._where = rules, tokenizer, where
        self._model = tokenizer.model
        vocab = tokenizer.get_vocab(with_added_tokens=False)
        texts = {id: text for text, id in vocab.items()}
        unknown = {rules.unk_id, *rules.hidden, *rules.user_defined} - texts.keys()
        if unknown:
            raise FormatError(where, f"sentencepiece: the vocabulary has no id {min(unknown)}")
        self._symbols = {texts[id]: id for id in rules.user_defined}
        self._symbol = any_of(list(self._symbols)) if self._symbols else None
        self._normalizer = Normalizer(
            CharsMap(_bytes(rules.charsmap, where), where) if rules.charsmap else None,
            prefix=rules.prefix,
            remove_extra_spaces=rules.remove_extra_spaces,
            protected=list(self._symbols),
        )
        self._bytes = [vocab.get(f"<0x{byte:02X}>", rules.unk_id) for byte in range(256)]
        self._unigram = self._make_unigram(texts) if rules.kind == "unigram" else None
        added = tokenizer.get_added_tokens_decoder()
        self._added = {token.content: id for id, token in added.items()}
        self._section = any_of(list(self._added)) if self._added else None

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Ids of a text in which special tokens stand for themselves. special: with what is put behind a text."""
        ids: list[int] = []
        at = 0
        for found in self._section.finditer(text) if self._section else ():
            ids += [*self._of_section(text[at : found.start()], first=at == 0), self._added[found[0]]]
            at = found.end()
        ids += self._of_section(text[at:], first=at == 0)
        return [*ids, *self._rules.after] if special else ids

    def _of_section(self, text: str, *, first: bool) -> Iterator[int]:
        """Ids of a text without special tokens. A run of unknown pieces is one."""
        last = -1
        prefix = first or self._rules.prefix_after_special
        for id in self._pieces(self._normalizer.normalize(text, prefix=prefix)):
            if id != last or id != self._rules.unk_id:
                yield id
            last = id

    def _pieces(self, text: str) -> Iterator[int]:
        if self._unigram is not None:
            for id, piece in self._unigram.encode(text):
                if id == self._rules.unk_id and self._rules.byte_fallback:
                    yield from (self._bytes[byte] for byte in piece.encode())
                else:
                    yield id
            return
        at = 0
        for symbol in self._symbol.finditer(text) if self._symbol else ():
            yield from self._merged(text[at : symbol.start()])
            yield self._symbols[symbol[0]]
            at = symbol.end()
        yield from self._merged(text[at:])

    def _merged(self, text: str) -> Iterator[int]:
        return (token.id for token in self._model.tokenize(text)) if text else iter(())

    def _make_unigram(self, texts: dict[int, str]) -> Unigram:
        pieces = _scored(self._tokenizer, self._where)
        if len(pieces) != len(texts):
            raise FormatError(self._where, "sentencepiece: the vocabulary has a piece twice")
        return Unigram(pieces, self._rules.unk_id, {*self._rules.hidden}, {*self._rules.user_defined})


def _scored(tokenizer: Any, where: str) -> list[tuple[str, float]]:
    """Pieces and scores of a unigram vocabulary, which the library shows in its document only."""
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("type") != "Unigram":
        raise FormatError(where, f"sentencepiece: the rules are for a unigram vocabulary, this is {model.get('type')}")
    return [(text, float(score)) for text, score in model["vocab"]]


def _bytes(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise FormatError(where, f"sentencepiece: charsmap is not base64: {error}") from error
