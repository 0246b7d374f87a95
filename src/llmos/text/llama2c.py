"""llama2.c's tokenizer.bin: SentencePiece BPE pieces with scores, as a `tokenizers` BPE with byte fallback.

Source: https://github.com/karpathy/llama2.c, tokenizer.py: the length of the longest piece, then score, length and text of each.
"""

import struct
from pathlib import Path

from llmos.core.errors import FormatError, UserError
from llmos.core.files import read_file

__all__ = ["read_pieces", "tokenizer_of_pieces"]

_SPECIAL, _BYTES = 3, 256  # unknown, beginning, end; then every byte
_LONGEST_BYTES = 1024  # of a piece: every way to split one is looked at


def read_pieces(path: Path, vocab: int) -> list[tuple[str, float]]:
    """Text and score of each piece. Raises FormatError where the file does not hold exactly `vocab` of them."""
    if vocab < _SPECIAL + _BYTES:
        raise FormatError(path, f"cannot belong to a model of {vocab} tokens: 3 special ones and 256 bytes are needed")
    raw, at, pieces = _read(path), 4, []
    for i in range(vocab):
        if at + 8 > len(raw):
            raise FormatError(
                path, f"ends after {i} of {vocab} pieces: it does not belong to this model", offset=len(raw)
            )
        score, length = struct.unpack_from("<fi", raw, at)
        if not 0 <= length <= min(_LONGEST_BYTES, len(raw) - at - 8):
            raise FormatError(path, f"piece {i} claims {length} bytes", offset=at)
        pieces.append((raw[at + 8 : at + 8 + length].decode("utf-8", "replace"), score))
        at += 8 + length
    if at != len(raw):
        raise FormatError(path, f"holds more than {vocab} pieces: it does not belong to this model", offset=at)
    return pieces


def tokenizer_of_pieces(pieces: list[tuple[str, float]]) -> str:
    """The text of a tokenizer.json. Merges come in the order of scores, as llama2.c applies them."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    names = [_name(i, text) for i, (text, _) in enumerate(pieces)]
    vocab = {name: i for i, name in enumerate(names)}
    merges = []
    for i, name in sorted(enumerate(names), key=lambda item: -pieces[item[0]][1]):
        if i >= _SPECIAL + _BYTES and len(name) > 1:
            splits = [(name[:k], name[k:]) for k in range(1, len(name)) if name[:k] in vocab and name[k:] in vocab]
            merges += sorted(splits, key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token=names[0], fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in dict.fromkeys(names[:_SPECIAL])]
    )
    return tokenizer.to_str()


def _name(i: int, text: str) -> str:
    is_byte = _SPECIAL <= i < _SPECIAL + _BYTES
    return f"<0x{i - _SPECIAL:02X}>" if is_byte else text.replace(" ", "▁")


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
