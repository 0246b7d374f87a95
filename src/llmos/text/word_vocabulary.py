"""WordPiece: vocab.txt, one piece a line, as BERT's tokenizer reads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError
from llmos.text.model_files import read_text

__all__ = ["tokenizer_of_words"]


def tokenizer_of_words(path: Path, settings: Mapping[str, Any], *, unknown: str) -> Any:
    """A `tokenizers.Tokenizer`. settings: do_lower_case, strip_accents and tokenize_chinese_chars are taken from it.

    Raises FormatError for a file that is no such vocabulary.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    lines = read_text(path).split("\n")
    pieces = [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    if unknown not in vocab:
        raise FormatError(path, f"is no WordPiece vocabulary: it has no {unknown}")
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=unknown, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        lowercase=settings.get("do_lower_case") is not False,
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars") is not False,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece("##")
    return tokenizer
