"""Vocabularies without a tokenizer.json, put together as transformers' class of the tokenizer does it.

The result is a tokenizer.json like any other, and for a SentencePiece model the rules that go with it.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError
from llmos.text.byte_vocabulary import tokenizer_of_merges, tokenizer_of_ranks
from llmos.text.sentencepiece import Rules
from llmos.text.sentencepiece_document import tokenizer_of_sentencepiece
from llmos.text.sentencepiece_file import read_sentencepiece
from llmos.text.tokenizer_classes import TokenizerClass
from llmos.text.tokenizer_document import Document, parse_document
from llmos.text.tokenizer_failures import failures
from llmos.text.word_vocabulary import tokenizer_of_words

__all__ = ["assemble"]

_MOST_SENTINELS = 10_000


def assemble(
    known: TokenizerClass,
    files: list[Path],
    *,
    settings: Mapping[str, Any],
    special: dict[str, str],
    added: Mapping[int, Mapping[str, Any]],
) -> tuple[Document, dict[str, str], bool, list[str]]:
    """The document, the named tokens, whether bos_token is put first by itself, and what the settings ask for in vain.

    special: named tokens that files state. added: further tokens by id.
    """
    rules: Rules | None = None
    names = known.special | special
    with failures(files[0], "makes no tokenizer"):
        if known.kind == "sentencepiece":
            tokenizer, rules = tokenizer_of_sentencepiece(read_sentencepiece(files[0]), files[0])
        elif known.kind == "bytes":
            tokenizer = tokenizer_of_merges(files[0], files[1], known, prefix=settings.get("add_prefix_space") is True)
        elif known.kind == "ranks":
            tokenizer = tokenizer_of_ranks(files[0], known)
        else:
            tokenizer = tokenizer_of_words(files[0], settings, unknown=names["unk_token"])
        _add_tokens(tokenizer, known, added, _sentinels(known, settings, files[0]), files[0])
        names = _name_tokens(tokenizer, known, special)
        before, after = _ends(known, settings, names)
        if rules is None:
            _put_around(tokenizer, before, after)
        text = tokenizer.to_str()
        if rules is not None:
            rules = _with_settings(rules, settings, tuple(tokenizer.token_to_id(token) for token in after))
    document = parse_document(text, files[0], rules.to_dict() if rules is not None else None)
    asked = ["split_special_tokens=True"] if settings.get("split_special_tokens") is True else []
    return document, names, rules is not None and bool(before), asked


def _sentinels(known: TokenizerClass, settings: Mapping[str, Any], path: Path) -> list[str]:
    """A class's `<extra_id_N>` tokens, as many as the settings say."""
    n = settings.get("extra_ids", known.sentinels) if known.sentinels else 0
    if type(n) is not int or not 0 <= n <= _MOST_SENTINELS:
        raise FormatError(path.parent / "tokenizer_config.json", f"extra_ids must be 0 to {_MOST_SENTINELS}, not {n!r}")
    return [f"<extra_id_{i}>" for i in reversed(range(n))]


def _add_tokens(
    tokenizer: Any,
    known: TokenizerClass,
    added: Mapping[int, Mapping[str, Any]],
    sentinels: list[str],
    path: Path,
) -> None:
    """Tokens with the ids that files state; a class's own ones behind the vocabulary."""
    from tokenizers import AddedToken

    for id, token in added.items():
        flags = {name: bool(token.get(name, False)) for name in ("lstrip", "rstrip", "single_word", "special")}
        normalized = bool(token.get("normalized", not flags["special"]))
        tokenizer.add_tokens([AddedToken(token["content"], normalized=normalized, **flags)])
        if tokenizer.token_to_id(token["content"]) != id:
            raise FormatError(
                path, f"the vocabulary has {tokenizer.get_vocab_size()} tokens: {token['content']!r} cannot be {id}"
            )
    tokenizer.add_special_tokens(
        [token for token in (*known.extra, *sentinels) if tokenizer.token_to_id(token) is None]
    )


def _name_tokens(tokenizer: Any, known: TokenizerClass, stated: dict[str, str]) -> dict[str, str]:
    """Named tokens are special: those that a file states, and those of the class that the vocabulary has."""
    from tokenizers import AddedToken

    names = {name: token for name, token in known.special.items() if tokenizer.token_to_id(token) is not None} | stated
    present = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    new = [token for token in dict.fromkeys(names.values()) if token not in present]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in new])
    return names


def _ends(known: TokenizerClass, settings: Mapping[str, Any], names: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The tokens that go before and after a text."""
    bos, eos = settings.get("add_bos_token"), settings.get("add_eos_token")
    before, after = list(known.before), list(known.after)
    if (known.bos if bos is None else bos is True) and not before:
        before = ["bos_token"]
    if eos is True and not after:
        after = ["eos_token"]
    return [names[name] for name in before if name in names], [names[name] for name in after if name in names]


def _put_around(tokenizer: Any, before: list[str], after: list[str]) -> None:
    from tokenizers import processors

    if before or after:
        tokens = [(token, tokenizer.token_to_id(token)) for token in (*before, *after)]
        tokenizer.post_processor = processors.TemplateProcessing([*before, "$A", *after], special_tokens=tokens)


def _with_settings(rules: Rules, settings: Mapping[str, Any], after: tuple[int, ...]) -> Rules:
    prefix = rules.prefix and settings.get("add_prefix_space") is not False
    return replace(rules, prefix=prefix, prefix_after_special=settings.get("legacy") is True, after=after)
