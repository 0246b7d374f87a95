"""The tokenizer of a Hugging Face folder: which of its files hold it, and what its settings ask for.

A tokenizer.json is taken as it is. Without one the older layouts are read: a SentencePiece model, vocab.json and merges.txt,
vocab.txt, a .tiktoken file. What cannot be read is refused with the reason, never taken for something near it.
"""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError, UserError
from llmos.text.model_files import is_ids, is_text, read_json
from llmos.text.older_layouts import assemble
from llmos.text.template_files import template_files, templates_of
from llmos.text.tokenizer_classes import Kind, class_named
from llmos.text.tokenizer_document import Document, malformed, read_document
from llmos.text.tokenizer_settings import unapplied_settings

__all__ = ["read_folder", "tokenizer_files"]

_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")

# Names of vocabularies in the order in which they are looked for; of several files one kind needs all.
_VOCABULARIES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("sentencepiece", ("tokenizer.model",)),
    ("sentencepiece", ("spiece.model",)),
    ("sentencepiece", ("spm.model",)),
    ("sentencepiece", ("sentencepiece.model",)),
    ("sentencepiece", ("sentencepiece.bpe.model",)),
    ("bytes", ("vocab.json", "merges.txt")),
    ("words", ("vocab.txt",)),
)

# Vocabularies that are known and not read: the way is the same for all.
_OTHERS = ("tekken.json", "source.spm", "vocab.json", "vocab.bpe", "bpe.codes")


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of a folder that `read_folder` reads for a tokenizer; none where it has no vocabulary."""
    document = folder / "tokenizer.json"
    vocabulary = [document] if document.exists() else (_vocabulary(folder) or (None, _unread(folder)))[1]
    settings = [folder / name for name in _SETTINGS]
    return [*vocabulary, *filter(Path.exists, settings), *template_files(folder)] if vocabulary else []


def read_folder(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Fields of a prompt format, and `name=value` of what the settings ask for and is not done.

    Raises UserError where there is no vocabulary that is read, FormatError for damaged files.
    """
    config = folder / "tokenizer_config.json"
    settings = read_json(config)
    older = folder / "special_tokens_map.json"
    special = named_tokens(read_json(older), older) | named_tokens(settings, config)
    path = folder / "tokenizer.json"
    if path.exists():
        document = read_document(path)
        with malformed(path):
            unapplied = unapplied_settings(document.parsed, settings, special, document.ids)
        add_bos = settings.get("add_bos_token") or False
    else:
        document, special, add_bos, unapplied = _older(folder, settings, special)
    bos, eos = special.get("bos_token"), special.get("eos_token")
    stops = [*_stop_ids(folder), *([document.ids[eos]] if eos in document.ids else [])]
    templates = templates_of(folder, settings)
    values = {
        "tokenizer": document.text,
        "chat_template": templates.pop("default", None),
        "named_templates": templates,
        "bos_id": document.ids.get(bos) if bos else None,
        "stop_ids": list(dict.fromkeys(stops)),
        "add_bos": add_bos,
        "special": special,
        "sentencepiece": document.rules,
    }
    return values, unapplied


def named_tokens(settings: Mapping[str, Any], path: Path) -> dict[str, str]:
    """The named tokens. Settings whose names end alike, such as add_bos_token, are neither text nor an object."""
    out = {}
    for name, value in settings.items():
        if name.endswith("_token") and isinstance(value, str | dict) and value:
            text = value.get("content") if isinstance(value, dict) else value
            if not is_text(text):
                raise FormatError(path, f"{name} must be text or an object with its content, not {reprlib.repr(value)}")
            out[name] = text
    return out


def _older(
    folder: Path, settings: dict[str, Any], special: dict[str, str]
) -> tuple[Document, dict[str, str], bool, list[str]]:
    """As much of a layout without tokenizer.json: the document, named tokens, whether bos is put first, what is not done."""
    found = _vocabulary(folder)
    if found is None:
        raise UserError(_refusal(folder))
    kind, files = found
    stated, model_type = settings.get("tokenizer_class"), read_json(folder / "config.json").get("model_type")
    name, known = class_named(stated, model_type, kind)
    if known is None:
        raise UserError(
            f"{files[0]} belongs to a {name}, which is not read without a tokenizer.json: {_WAY.format(folder=folder)}"
        )
    return assemble(known, files, settings=settings, special=special, added=_added(folder, settings))


_WAY = (
    "make one where transformers is installed, with "
    "AutoTokenizer.from_pretrained('{folder}').save_pretrained('{folder}')"
)


def _refusal(folder: Path) -> str:
    unread = _unread(folder)
    if not unread:
        return (
            f"{folder} has no tokenizer.json, and none of the vocabularies that are read in its place (docs/formats.md)"
        )
    return f"{unread[0]} is no vocabulary that is read, and there is no tokenizer.json: {_WAY.format(folder=folder)}"


def _vocabulary(folder: Path) -> tuple[Kind, list[Path]] | None:
    for kind, names in _VOCABULARIES:
        if all((folder / name).exists() for name in names):
            return kind, [folder / name for name in names]
    ranks = sorted(folder.glob("*.tiktoken"))
    if ranks:
        return "ranks", ranks[:1]
    versions = sorted(folder.glob("tokenizer.model.v[0-9]*"))
    return ("sentencepiece", versions[-1:]) if versions else None


def _unread(folder: Path) -> list[Path]:
    return [folder / name for name in _OTHERS if (folder / name).exists()]


def _added(folder: Path, settings: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Tokens beside the vocabulary, by id: content, and how they are found in a text."""
    path = folder / "added_tokens.json"
    older = {}
    for text, id in read_json(path).items():
        if not is_ids([id]):
            raise FormatError(path, f"added token {reprlib.repr(text)} must have a number, not {reprlib.repr(id)}")
        older[id] = {"content": text}
    stated = settings.get("added_tokens_decoder")
    given = older | (stated if isinstance(stated, dict) else {})
    out = {}
    for id, token in given.items():
        number = int(id) if isinstance(id, str) and id.isdecimal() and len(id) < 10 else id
        if not is_ids([number]) or not isinstance(token, dict) or not is_text(token.get("content")):
            raise FormatError(folder, f"added token {reprlib.repr(token)} must have a content and a number, not {id!r}")
        out[number] = token
    return dict(sorted(out.items()))


def _stop_ids(folder: Path) -> list[int]:
    """eos_token_id of generation_config.json, or else of config.json."""
    for path in (folder / "generation_config.json", folder / "config.json"):
        value = read_json(path).get("eos_token_id")
        if value is not None:
            ids = value if isinstance(value, list) else [value]
            if not is_ids(ids):
                raise FormatError(path, f"eos_token_id must be a token id or a list of them, not {reprlib.repr(value)}")
            return ids
    return []
