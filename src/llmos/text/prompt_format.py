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
from typing import Any, TypeGuard

from llmos.core.errors import FormatError, UserError
from llmos.text.llama2c import read_pieces, tokenizer_of_pieces
from llmos.text.tokenizer_settings import unapplied_settings

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

    add_bos: whether encoding puts bos_id first by itself where the tokenizer's own rules do not.
    """

    tokenizer: str
    chat_template: str | None = None
    bos_id: int | None = None
    stop_ids: tuple[int, ...] = ()
    add_bos: bool = False
    special: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "PromptFormat":
        """From a Hugging Face folder. Raises UserError where there is no tokenizer.json, FormatError for damaged files."""
        return cls.read(folder)[0]

    @classmethod
    def unapplied(cls, folder: Path) -> list[str]:
        """`name=value` of what the tokenizer settings of a folder ask for and is not done. Raises as `load` does."""
        return cls.read(folder)[1]

    @classmethod
    def read(cls, folder: Path) -> tuple["PromptFormat", list[str]]:
        """What `load` and `unapplied` give, from one reading of the files, which may be large."""
        path = folder / "tokenizer.json"
        if not path.exists():
            raise UserError(
                f"{folder} has no tokenizer.json; other tokenizer files are not read: save the tokenizer with transformers' fast class"
            )
        settings, special = _settings(folder)
        text = _text(path)
        document, ids = _document(path, text)
        bos, eos = special.get("bos_token"), special.get("eos_token")
        stops = [*_stop_ids(folder), *([ids[eos]] if eos in ids else [])]
        values = {
            "tokenizer": text,
            "chat_template": _template(folder, settings),
            "bos_id": ids.get(bos) if bos else None,
            "stop_ids": list(dict.fromkeys(stops)),
            "add_bos": settings.get("add_bos_token") or False,
            "special": special,
        }
        return cls.from_dict(values, where=folder), unapplied_settings(document, settings, special, ids)

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


def _is_text(value: object) -> TypeGuard[str]:
    """Whether it is text that UTF-8 can hold: JSON may hide half of a surrogate pair."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_ids(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_id, value))


def _is_texts_by_name(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value)) and all(map(_is_text, value.values()))


_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "tokenizer": (_is_text, "text"),
    "chat_template": (lambda value: value is None or _is_text(value), "text or null"),
    "bos_id": (lambda value: value is None or _is_id(value), "a token id or null"),
    "stop_ids": (_is_ids, "a list of token ids"),
    "add_bos": (lambda value: isinstance(value, bool), "true or false"),
    "special": (_is_texts_by_name, "an object of texts"),
}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(path, "is not UTF-8 text", offset=error.start) from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none."""
    if not path.exists():
        return {}
    try:
        raw = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise FormatError(path, "is not a JSON object")
    return raw


def _settings(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """tokenizer_config.json, and the named tokens: its own first, then those of special_tokens_map.json, which is older."""
    config, older = folder / "tokenizer_config.json", folder / "special_tokens_map.json"
    settings = _json(config)
    return settings, _special(_json(older), older) | _special(settings, config)


def _special(settings: dict[str, Any], path: Path) -> dict[str, str]:
    """The named tokens. Settings whose names end alike, such as add_bos_token, are neither text nor an object."""
    out = {}
    for name, value in settings.items():
        if name.endswith("_token") and isinstance(value, str | dict) and value:
            text = value.get("content") if isinstance(value, dict) else value
            if not _is_text(text):
                raise FormatError(path, f"{name} must be text or an object with its content, not {reprlib.repr(value)}")
            out[name] = text
    return out


def _stop_ids(folder: Path) -> list[int]:
    """eos_token_id of generation_config.json, or else of config.json."""
    for path in (folder / "generation_config.json", folder / "config.json"):
        value = _json(path).get("eos_token_id")
        if value is not None:
            ids = value if isinstance(value, list) else [value]
            if not _is_ids(ids):
                raise FormatError(path, f"eos_token_id must be a token id or a list of them, not {reprlib.repr(value)}")
            return ids
    return []


def _template(folder: Path, settings: dict[str, Any]) -> str | None:
    if (folder / "chat_template.jinja").exists():
        return _text(folder / "chat_template.jinja")
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = [entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default"]
        template = named[0].get("template") if named else None
    if template is not None and not _is_text(template):
        path = folder / "tokenizer_config.json"
        raise FormatError(path, f"chat_template must be text or a list of named texts, not {reprlib.repr(template)}")
    return template


def _document(path: Path, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A parsed tokenizer.json; and the ids of its tokens, those outside the ordinary text and the whole vocabulary."""
    try:
        raw = json.loads(text)
        vocab = raw["model"]["vocab"]
        ids = dict(vocab) if isinstance(vocab, dict) else {piece[0]: i for i, piece in enumerate(vocab)}
        return raw, ids | {token["content"]: token["id"] for token in raw.get("added_tokens") or []}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise FormatError(path, f"is no tokenizer.json: {error!r}") from error
