"""Where a tokenizer_config.json states another encoding than its tokenizer.json does.

The document decides, as in transformers 5; `add_bos_token: true` alone is honoured besides (`PromptFormat.add_bos`). Releases
of transformers disagree about the rest, so a difference is named and nobody has to find it in the ids.
"""

import reprlib
from collections.abc import Mapping
from typing import Any

from llmos.text.lower_case import lowers

__all__ = ["unapplied_settings"]

_ASKED_BY_TRUE = ("fix_mistral_regex", "split_special_tokens")


def unapplied_settings(
    document: Mapping[str, Any], settings: Mapping[str, Any], special: Mapping[str, str], ids: Mapping[str, Any]
) -> list[str]:
    """What is stated and not done. document: of a tokenizer.json; special: names such as bos_token to their text.

    ids: of the tokens of the document, by their text.
    """
    asked = [f"{name}=True" for name in _ASKED_BY_TRUE if settings.get(name) is True]
    if settings.get("do_lower_case") is True and not lowers(document.get("normalizer")):
        asked.append("do_lower_case=True")
    before, after = _around(document)
    if settings.get("add_bos_token") is False and special.get("bos_token") in before:
        asked.append("add_bos_token=False")
    for name, done in (("add_eos_token", special.get("eos_token") in after), ("add_prefix_space", _prefixes(document))):
        stated = settings.get(name)
        if stated is not None and stated is not done:
            asked.append(f"{name}={stated!r}")
    named = {name: special[name] for name in ("bos_token", "eos_token") if name in special}
    asked += [f"{name}={token!r} (which tokenizer.json lacks)" for name, token in named.items() if token not in ids]
    missing = [token for token in _added(settings) if token not in ids]
    return asked + ([f"added_tokens_decoder={reprlib.repr(missing)} (which tokenizer.json lacks)"] if missing else [])


def _added(settings: Mapping[str, Any]) -> list[str]:
    tokens = settings.get("added_tokens_decoder")
    entries = tokens.values() if isinstance(tokens, dict) else ()
    return [str(entry.get("content")) if isinstance(entry, dict) else str(entry) for entry in entries]


def _around(document: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The tokens that the post-processor puts before and after a text."""
    last = document.get("post_processor")
    steps = last.get("processors", [last]) if isinstance(last, dict) else []
    pieces = [piece for step in steps for piece in _single(step)]
    at = next((i for i, piece in enumerate(pieces) if "Sequence" in piece), len(pieces))
    tokens = [piece.get("SpecialToken", {}).get("id", "") for piece in pieces]
    return tokens[:at], tokens[at + 1 :]


def _single(step: Mapping[str, Any]) -> list[Any]:
    """What a post-processor makes of one text, in the pieces of a template."""
    if step.get("type") == "TemplateProcessing":
        return step["single"]
    if step.get("type") in ("BertProcessing", "RobertaProcessing"):
        first, last = ({"SpecialToken": {"id": step[name][0]}} for name in ("cls", "sep"))
        return [first, {"Sequence": {"id": "A"}}, last]
    return []


def _prefixes(document: Mapping[str, Any]) -> bool:
    """Whether a space is put before the first word."""
    splitter = document.get("pre_tokenizer")
    steps = splitter.get("pretokenizers", [splitter]) if isinstance(splitter, dict) else []
    return _prepends(document.get("normalizer")) or any(map(_step_prefixes, steps))


def _prepends(normalizer: Any) -> bool:
    if not isinstance(normalizer, dict):
        return False
    return normalizer.get("type") == "Prepend" or any(map(_prepends, normalizer.get("normalizers", [])))


def _step_prefixes(step: Mapping[str, Any]) -> bool:
    if step.get("type") == "Metaspace":
        return step.get("prepend_scheme", "always") != "never" and step.get("add_prefix_space", True) is True
    return step.get("type") == "ByteLevel" and step.get("add_prefix_space", True) is True
