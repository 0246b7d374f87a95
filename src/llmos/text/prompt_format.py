"""The prompt format: tokenizer, chat template, special and stop tokens as one object with one hash.

It belongs to the model: the trainer writes it, the bundle carries it, every face uses it. Golden token ids of a fixed text
set go with it, so that another implementation of the tokenizer can prove that it gives the same ids.
"""

import hashlib
import json
import struct
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError, UserError

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
        path = folder / "tokenizer.json"
        if not path.exists():
            raise UserError(
                f"{folder} has no tokenizer.json; other tokenizer files are not read: save the tokenizer with transformers' fast class"
            )
        settings = _json(folder / "tokenizer_config.json")
        generation = _json(folder / "generation_config.json") | {}
        config = _json(folder / "config.json")
        text = _text(path)
        special = {
            name: _token_text(value)
            for name, value in settings.items()
            if name.endswith("_token") and isinstance(value, str | dict) and value
        }
        ids = _added_ids(path, text)
        bos = special.get("bos_token")
        stops = _ids(generation.get("eos_token_id", config.get("eos_token_id")))
        if special.get("eos_token") in ids:
            stops = [*stops, ids[special["eos_token"]]]
        return cls(
            tokenizer=text,
            chat_template=_template(folder, settings),
            bos_id=ids.get(bos) if bos else None,
            stop_ids=tuple(dict.fromkeys(stops)),
            add_bos=bool(settings.get("add_bos_token", False)),
            special=special,
        )

    @classmethod
    def from_llama2c(cls, path: Path, vocab: int) -> "PromptFormat":
        """From a llama2.c tokenizer.bin: SentencePiece BPE pieces with scores, as a `tokenizers` BPE with byte fallback."""
        pieces = _read_llama2c(path, vocab)
        return cls(
            tokenizer=_sentencepiece_bpe(pieces),
            bos_id=1,
            stop_ids=(1, 2),
            add_bos=True,
            special={"bos_token": pieces[1][0], "eos_token": pieces[2][0]},
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"stop_ids": list(self.stop_ids)}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "PromptFormat":
        unknown = raw.keys() - {f.name for f in fields(cls)}
        if unknown:
            raise UserError(
                f"prompt format has unknown fields: {', '.join(sorted(unknown))}; a newer LLMOS may have written it"
            )
        return cls(**{**raw, "stop_ids": tuple(raw["stop_ids"])})

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(path, "is not UTF-8 text", offset=error.start) from error


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        raw = json.loads(_text(path))
    except ValueError as error:
        raise FormatError(path, f"is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise FormatError(path, "is not a JSON object")
    return raw


def _token_text(value: Any) -> str:
    return value["content"] if isinstance(value, dict) else value


def _ids(value: Any) -> list[int]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _template(folder: Path, settings: dict[str, Any]) -> str | None:
    if (folder / "chat_template.jinja").exists():
        return _text(folder / "chat_template.jinja")
    template = settings.get("chat_template")
    if isinstance(template, list):
        template = next((entry["template"] for entry in template if entry.get("name") == "default"), None)
    return template


def _added_ids(path: Path, text: str) -> dict[str, int]:
    """Ids of the tokens that stand outside the ordinary text, and of the whole vocabulary where it names them."""
    try:
        raw = json.loads(text)
        vocab = raw["model"]["vocab"]
        ids = dict(vocab) if isinstance(vocab, dict) else {piece[0]: i for i, piece in enumerate(vocab)}
        return ids | {token["content"]: token["id"] for token in raw.get("added_tokens") or []}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise FormatError(path, f"is no tokenizer.json: {error!r}") from error


def _read_llama2c(path: Path, vocab: int) -> list[tuple[str, float]]:
    raw, at, pieces = path.read_bytes(), 4, []
    for i in range(vocab):
        if at + 8 > len(raw):
            raise FormatError(
                path, f"ends after {i} of {vocab} pieces: it does not belong to this model", offset=len(raw)
            )
        score, length = struct.unpack_from("<fi", raw, at)
        if not 0 <= length <= len(raw) - at - 8:
            raise FormatError(path, f"piece {i} claims {length} bytes", offset=at)
        pieces.append((raw[at + 8 : at + 8 + length].decode("utf-8", "replace"), score))
        at += 8 + length
    if at != len(raw):
        raise FormatError(path, f"holds more than {vocab} pieces: it does not belong to this model", offset=at)
    return pieces


def _sentencepiece_bpe(pieces: list[tuple[str, float]]) -> str:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    names = [f"<0x{i - 3:02X}>" if 3 <= i < 259 else text.replace(" ", "▁") for i, (text, _) in enumerate(pieces)]
    vocab = {name: i for i, name in enumerate(names)}
    merges = []
    for i, name in sorted(enumerate(names), key=lambda item: -pieces[item[0]][1]):
        if i >= 259 and len(name) > 1:
            splits = [(name[:k], name[k:]) for k in range(1, len(name)) if name[:k] in vocab and name[k:] in vocab]
            merges += sorted(splits, key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token=names[0], fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in dict.fromkeys(names[:3])]
    )
    return tokenizer.to_str()
