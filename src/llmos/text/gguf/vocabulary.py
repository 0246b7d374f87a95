"""The vocabulary in the metadata of a GGUF file, checked: tokens with their kinds, scores, merges, named ids.

The keys are those of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; what llama.cpp assumes where one is missing
(`llama-vocab.cpp`, `llama_vocab::impl::load`) is assumed here too.
"""

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from llmos.core.errors import FormatError

__all__ = ["Kind", "Vocabulary"]

_KEY = "tokenizer.ggml."

# Named tokens: what templates call them, and the key of the id.
_NAMED = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "sep_token": "seperator_token_id",
    "pad_token": "padding_token_id",
    "cls_token": "cls_token_id",
    "mask_token": "mask_token_id",
}
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")

# Ids of llama.cpp where the file does not state them.
_DEFAULT_IDS = {
    "llama": {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0},
    "t5": {"eos_token_id": 1, "unknown_token_id": 2, "padding_token_id": 0},
    "bert": {"cls_token_id": 101, "unknown_token_id": 100, "seperator_token_id": 102, "padding_token_id": 0},
}

# Tokens that end an answer whatever the file says of them: conversion tools leave them out (llama.cpp issue 9606).
_END_TEXTS = frozenset(
    {"<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "<|endoftext|>", "</s>"}
    | {"<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>"}
    | {"<｜end▁of▁sentence｜>"}
)

_READ = frozenset(
    {"model", "pre", "tokens", "token_type", "scores", "merges", "add_bos_token", "add_eos_token", "add_space_prefix"}
    | {*_NAMED.values(), *_ENDS}
)
_OF_KIND = {
    "t5": frozenset({"precompiled_charsmap", "remove_extra_whitespaces"})
}  # what only one kind of tokenizer reads
_FLAGS = ("add_bos_token", "add_eos_token", "add_space_prefix", "remove_extra_whitespaces")
# Of no consequence for the ids of a text: parts of prompts for filling in, sizes, what only other kinds of tokenizer read.
_NEUTRAL = frozenset(
    {"token_type_count", "remove_extra_whitespaces", "add_sep_token", "prefix_token_id", "suffix_token_id"}
    | {"middle_token_id", *(f"fim_{part}_token_id" for part in ("pre", "suf", "mid", "pad", "rep", "sep"))}
)


class Kind(enum.IntEnum):
    """tokenizer.ggml.token_type."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """model: the kind of tokenizer; pre: how it splits text, None where the file does not say; named: bos_token and so on.

    scores: empty where the file has none; charsmap: compiled rules that replace characters, empty without any; merges: pairs in the order in which they are applied; ends: ids that end an answer.
    """

    model: str
    pre: str | None
    tokens: list[str]
    kinds: list[int]
    scores: list[float]
    charsmap: bytes
    merges: list[tuple[str, str]]
    named: dict[str, int]
    ends: tuple[int, ...]
    flags: Mapping[str, bool]
    name: str

    @classmethod
    def read(cls, metadata: Mapping[str, Any], where: Path) -> "Vocabulary":
        """Raises FormatError, naming the key, for what is missing, of another type, out of range or not understood."""
        reader = _Reader(metadata, where)
        model = reader.text("model")
        reader.refuse_unknown(_READ | _OF_KIND.get(model, frozenset()))
        tokens = [token or f"[EMPTY_{i}]" for i, token in enumerate(reader.texts("tokens") or ())]
        if not tokens:
            raise FormatError(where, f"{_KEY}tokens is missing or empty: the file has no vocabulary")
        reader.check_unique(tokens)
        kinds = reader.numbers("token_type", len(tokens)) or [int(Kind.NORMAL)] * len(tokens)
        defaults = _DEFAULT_IDS.get(model, {})
        named = {name: reader.id(key, len(tokens), defaults.get(key)) for name, key in _NAMED.items()}
        stated = [reader.id(key, len(tokens), defaults.get(key)) for key in _ENDS]
        known = [i for i, token in enumerate(tokens) if token in _END_TEXTS and kinds[i] != Kind.NORMAL]
        return cls(
            model=model,
            pre=reader.text("pre", None),
            tokens=tokens,
            kinds=[int(kind) for kind in kinds],
            scores=reader.scores(len(tokens)),
            charsmap=reader.raw("precompiled_charsmap"),
            merges=reader.merges(),
            named={name: id for name, id in named.items() if id is not None},
            ends=tuple(dict.fromkeys([*(id for id in stated if id is not None), *known])),
            flags={key: reader.flag(key) for key in _FLAGS if reader.has(key)},
            name=str(metadata.get("general.name", "")),
        )

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token -> id."""
        return {token: i for i, token in enumerate(self.tokens)}

    def of_kind(self, *kinds: Kind) -> Iterable[int]:
        """Ids of the tokens of some kinds."""
        return (i for i, kind in enumerate(self.kinds) if kind in kinds)


class _Reader:
    """Checked access to the tokenizer's keys."""

    def __init__(self, metadata: Mapping[str, Any], where: Path):
        self.metadata, self.where = metadata, where

    def refuse_unknown(self, read: frozenset[str]) -> None:
        ours = (key.removeprefix(_KEY) for key in self.metadata if key.startswith(_KEY))
        unknown = sorted(key for key in ours if key not in read | _NEUTRAL)
        if unknown:
            raise FormatError(
                self.where,
                f"{_KEY}{', '.join(unknown)}: not understood, and may change how text is split; known: {', '.join(sorted(read))}",
            )

    def has(self, key: str) -> bool:
        return _KEY + key in self.metadata

    def text(self, key: str, default: Any = "") -> Any:
        value = self.metadata.get(_KEY + key, default)
        if not isinstance(value, str) and value is not default:
            raise self._bad(key, "must be text", value)
        return value

    def flag(self, key: str) -> bool:
        value = self.metadata[_KEY + key]
        if not isinstance(value, bool):
            raise self._bad(key, "must be true or false", value)
        return value

    def texts(self, key: str) -> list[str] | None:
        value = self.metadata.get(_KEY + key)
        if value is not None and not isinstance(value, list):
            raise self._bad(key, "must be a list of texts", value)
        return value

    def numbers(self, key: str, n: int) -> list[Any]:
        """A list of n numbers; empty where there is none."""
        value = self.metadata.get(_KEY + key)
        if value is None:
            return []
        if isinstance(value, list | str | int | float) or len(value) != n:
            raise self._bad(key, f"must be {n} numbers, one for each token", value)
        return value.tolist()

    def raw(self, key: str) -> bytes:
        """A list of bytes, signed or not; empty where there is none."""
        value = self.metadata.get(_KEY + key)
        if value is None:
            return b""
        if not isinstance(value, np.ndarray) or value.dtype.itemsize != 1 or value.dtype.kind not in "iu":
            raise self._bad(key, "must be a list of bytes", value)
        return value.tobytes()

    def scores(self, n: int) -> list[float]:
        """As `numbers`, each a finite one: they are put in order."""
        values = self.numbers("scores", n)
        strange = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
        if strange is not None:
            raise self._bad("scores", f"must be finite numbers, as that of token {strange} must", values[strange])
        return values

    def id(self, key: str, n: int, default: int | None) -> int | None:
        value = self.metadata.get(_KEY + key, default)
        if value is None or (default is not None and value is default and default >= n):
            return None
        if type(value) is not int or not 0 <= value < n:
            raise self._bad(key, f"must be a token below {n}", value)
        return value

    def merges(self) -> list[tuple[str, str]]:
        """The pairs. A token may begin with a space where it is no byte-level one: the second space parts them then."""
        pairs = []
        for text in self.texts("merges") or ():
            at = text.find(" ", 1)
            if at < 0 or at + 1 == len(text):
                raise self._bad("merges", "must be pairs parted by a space", text)
            pairs.append((text[:at], text[at + 1 :]))
        return pairs

    def check_unique(self, tokens: list[str]) -> None:
        seen: dict[str, int] = {}
        for i, token in enumerate(tokens):
            if token in seen:
                raise FormatError(self.where, f"{_KEY}tokens: {token!r} is token {seen[token]} and token {i}")
            seen[token] = i

    def _bad(self, key: str, problem: str, value: object) -> FormatError:
        shown = repr(value)
        return FormatError(self.where, f"{_KEY}{key} {problem}, not {shown[:60]}{'...' * (len(shown) > 60)}")
