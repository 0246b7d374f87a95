"""Byte-level BPE without a tokenizer.json: GPT-2's vocab.json and merges.txt, and tiktoken's ranks.

Sources: transformers' GPT2Tokenizer, Qwen2Tokenizer and TikTokenConverter; https://github.com/openai/tiktoken, tiktoken/load.py.
"""

import base64
import binascii
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError
from llmos.text.model_files import is_id, read_json, read_text
from llmos.text.tokenizer_classes import TokenizerClass

__all__ = ["tokenizer_of_merges", "tokenizer_of_ranks"]

_MOST_RANKS, _LONGEST_BYTES = 2_000_000, 1024


def tokenizer_of_merges(vocab_path: Path, merges_path: Path, known: TokenizerClass, *, prefix: bool) -> Any:
    """A `tokenizers.Tokenizer`. prefix: a space is put before the first word. Raises FormatError for damaged files."""
    vocab = read_json(vocab_path)
    if not vocab or not all(map(is_id, vocab.values())):
        raise FormatError(vocab_path, "is no vocabulary: it must be an object of token ids by their text")
    merges = []
    for i, line in enumerate(read_text(merges_path).split("\n")):
        pair = line.rstrip("\r").split(" ")
        if line.strip() and not (i == 0 and line.startswith("#version")):
            if len(pair) != 2:
                raise FormatError(merges_path, f"line {i + 1} must be two pieces, not {line[:60]!r}")
            merges.append((pair[0], pair[1]))
    return _byte_level(vocab, merges, known, prefix=prefix, whole_words=False)


def tokenizer_of_ranks(path: Path, known: TokenizerClass) -> Any:
    """A `tokenizers.Tokenizer`. Every way to put a token together from two is a merge; a word that is a token is taken whole."""
    letters = _letters()
    ranks = _ranks(path)
    names = {token: "".join(map(letters.__getitem__, token)) for token in ranks}
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        splits = [(token[:k], token[k:]) for k in range(1, len(token)) if token[:k] in ranks and token[k:] in ranks]
        splits.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges += [(names[left], names[right]) for left, right in splits]
    vocab = {names[token]: rank for token, rank in ranks.items()}
    return _byte_level(vocab, merges, known, prefix=False, whole_words=True)


def _byte_level(
    vocab: dict[str, int], merges: list[tuple[str, str]], known: TokenizerClass, *, prefix: bool, whole_words: bool
) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocab, merges, fuse_unk=False, ignore_merges=whole_words))
    if known.composes:
        tokenizer.normalizer = normalizers.NFC()
    if known.pattern is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    else:
        words = pre_tokenizers.Split(Regex(known.pattern), behavior="isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [words, pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False)]
        )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _ranks(path: Path) -> dict[bytes, int]:
    """Rank of each token: lines of a token in base64 and its number."""
    ranks: dict[bytes, int] = {}
    for i, line in enumerate(read_text(path).splitlines()):
        token, _, rank = line.partition(" ")
        try:
            data = base64.b64decode(token, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if not line:
            continue
        if not 0 < len(data) <= _LONGEST_BYTES or not rank.isdecimal() or int(rank[:10]) >= _MOST_RANKS:
            raise FormatError(path, f"line {i + 1} must be a token in base64 and its rank, not {line[:60]!r}")
        ranks[data] = int(rank)
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing or len(set(ranks.values())) < len(ranks):
        what = f"byte {missing[0]} is missing" if missing else "a rank occurs twice"
        raise FormatError(path, f"is no tiktoken vocabulary: {what}")
    return ranks


def _letters() -> dict[int, str]:
    """GPT-2's letter for each byte: itself where it can be printed, one from U+0100 on where not."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
