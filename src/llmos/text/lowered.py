"""Lower case before anything else: what sentence-transformers does to the tokenizer of a model whose files ask for it."""

import json
from dataclasses import replace

from llmos.core.errors import UserError
from llmos.text.lower_case import lowers
from llmos.text.prompt_format import PromptFormat

__all__ = ["lowered"]


def lowered(format: PromptFormat, where: object) -> PromptFormat:
    """The prompt format with a tokenizer that makes letters small first. Raises UserError where it cannot."""
    if format.sentencepiece is not None:
        raise UserError(f"{where} asks for lower case before a SentencePiece vocabulary, which LLMOS does not do")
    return replace(format, tokenizer=_lowering(format.tokenizer))


def _lowering(tokenizer: str) -> str:
    """The text of a tokenizer.json that makes letters small first, the same one where it does so anyway."""
    document = json.loads(tokenizer)
    own = document.get("normalizer")
    if lowers(own):
        return tokenizer
    steps = own["normalizers"] if isinstance(own, dict) and own.get("type") == "Sequence" else [own] if own else []
    return json.dumps(document | {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, *steps]}})
