"""WordPiece vocabularies of GGUF files (BERT): the beginning of a word is marked there (`▁word`), not what continues one."""

from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError
from llmos.text.gguf.vocabulary import Vocabulary

__all__ = ["word_pieces"]


def word_pieces(vocabulary: Vocabulary, where: Path) -> Any:
    """A `tokenizers.Tokenizer` with the usual marks (`word`, `##ing`), lower case, as BERT's own; [CLS] and [SEP] around."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    missing = [name for name in ("unk_token", "cls_token", "sep_token") if name not in vocabulary.named]
    if missing:
        raise FormatError(where, f"a vocabulary of kind bert needs {', '.join(missing)}")
    vocab = {_usual(token): i for i, token in enumerate(vocabulary.tokens)}
    if len(vocab) < len(vocabulary.tokens):
        raise FormatError(where, "tokenizer.ggml.tokens has the same piece twice")
    unknown, first, last = (vocabulary.named[name] for name in ("unk_token", "cls_token", "sep_token"))
    named = {i: vocabulary.tokens[i] for i in (unknown, first, last)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=named[unknown]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing((named[last], last), (named[first], first))
    return tokenizer


def _usual(token: str) -> str:
    if token.startswith("▁"):
        return token[1:]
    return token if token.startswith("[") and token.endswith("]") else "##" + token
