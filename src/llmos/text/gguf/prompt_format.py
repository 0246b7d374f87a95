"""From the metadata of a GGUF file to a `PromptFormat`, so that ids are those of llama.cpp with special tokens parsed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError
from llmos.text.gguf.bpe import byte_level, sentence_pieces, split_of
from llmos.text.gguf.unigram import unigram
from llmos.text.gguf.vocabulary import Kind, Vocabulary
from llmos.text.gguf.wordpiece import word_pieces
from llmos.text.prompt_format import PromptFormat
from llmos.text.sentencepiece import Rules

__all__ = ["prompt_format_of_gguf"]

_MODELS = {"llama": sentence_pieces, "gpt2": byte_level, "bert": word_pieces}
_UNIGRAM = "t5"
_NO_VOCABULARY = ("none", "no_vocab")

# Models whose special tokens swallow the spaces behind them, which no key tells: their names, and the tokens that do not.
_STRIPPING = ("phi-3", "phi3")
_NOT_STRIPPING = ("<unk>", "<s>", "<|endoftext|>")


def prompt_format_of_gguf(metadata: Mapping[str, Any], where: Path) -> PromptFormat | None:
    """None where the file has no vocabulary. Raises FormatError for one that is damaged or of a kind that is not read."""
    model = metadata.get("tokenizer.ggml.model")
    if model is None or model in _NO_VOCABULARY:
        return None
    if not isinstance(model, str) or model not in (*_MODELS, _UNIGRAM):
        known = ", ".join((*_MODELS, _UNIGRAM))
        raise FormatError(where, f"tokenizer.ggml.model is {model!r}, which is not read; known: {known}")
    vocabulary = Vocabulary.read(metadata, where)
    rules: Rules | None = None
    if model == _UNIGRAM:
        tokenizer, rules = unigram(vocabulary, where)
    else:
        tokenizer = _MODELS[model](vocabulary, where)
        _add_special_tokens(tokenizer, vocabulary)
        _add_end(tokenizer, vocabulary, where)
    bos_id = vocabulary.named.get("bos_token")
    add_bos = _adds_bos(vocabulary, where)
    if add_bos and bos_id is None:
        raise FormatError(where, "tokenizer.ggml.add_bos_token is true, but there is no tokenizer.ggml.bos_token_id")
    values = {
        "tokenizer": tokenizer.to_str(),
        "chat_template": metadata.get("tokenizer.chat_template"),
        "bos_id": bos_id,
        "stop_ids": list(vocabulary.ends),
        "add_bos": add_bos,
        "special": {name: vocabulary.tokens[id] for name, id in vocabulary.named.items()},
    }
    if rules is not None:
        values["sentencepiece"] = rules.to_dict()
    return PromptFormat.from_dict(values, where)


def _add_special_tokens(tokenizer: Any, vocabulary: Vocabulary) -> None:
    """Tokens that are cut out of a text before anything else: control tokens, which are no text, and those of the user."""
    from tokenizers import AddedToken

    strips = vocabulary.model == "llama" and any(word in vocabulary.name.lower() for word in _STRIPPING)

    def added(id: int, special: bool) -> AddedToken:
        text = vocabulary.tokens[id]
        rstrip = strips and text not in _NOT_STRIPPING
        return AddedToken(text, special=special, normalized=False, rstrip=rstrip)

    tokenizer.add_special_tokens([added(i, True) for i in vocabulary.of_kind(Kind.CONTROL, Kind.UNKNOWN)])
    tokenizer.add_tokens([added(i, False) for i in vocabulary.of_kind(Kind.USER_DEFINED)])


def _adds_bos(vocabulary: Vocabulary, where: Path) -> bool:
    if vocabulary.model == "bert":
        return False  # the post-processor puts [CLS] there
    if vocabulary.model == _UNIGRAM:
        return vocabulary.flags.get("add_bos_token", False)
    default = vocabulary.model == "llama" or split_of(vocabulary, where).add_bos
    return vocabulary.flags.get("add_bos_token", default)


def _add_end(tokenizer: Any, vocabulary: Vocabulary, where: Path) -> None:
    """The end token behind every text, where the file asks for it."""
    from tokenizers import processors

    if vocabulary.model == "bert" or not vocabulary.flags.get("add_eos_token", False):
        return
    id = vocabulary.named.get("eos_token")
    if id is None:
        raise FormatError(where, "tokenizer.ggml.add_eos_token is true, but there is no tokenizer.ggml.eos_token_id")
    text = vocabulary.tokens[id]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {text}", special_tokens=[(text, id)])
