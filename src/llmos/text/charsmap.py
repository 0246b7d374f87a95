"""The compiled rules of a SentencePiece model that replace characters, such as NFKC.

The longest rule that fits at a place is applied, and reading goes on behind it. The `tokenizers` library applies rules to
whole graphemes first, which gives other text for some accents and Hangul; so this is done here.

Source: https://github.com/google/sentencepiece, src/normalizer.cc and third_party/darts_clone/darts.h. The bytes are the length
of a double-array trie, the trie (little-endian 32-bit units, keys are UTF-8), then the replacements, each ended by a zero byte.
"""

import struct
from pathlib import Path

import numpy as np

from llmos.core.errors import FormatError

__all__ = ["CharsMap"]


class CharsMap:
    """Rules as they stand in a model file. Raises FormatError for bytes that are none."""

    def __init__(self, raw: bytes, where: str | Path):
        (size,) = struct.unpack_from("<I", raw) if len(raw) >= 4 else (0,)
        if size == 0 or size % 4 or size > len(raw) - 4:
            raise FormatError(where, f"rules of normalisation of {len(raw)} bytes claim a trie of {size} bytes")
        self._units: list[int] = np.frombuffer(raw, "<u4", size // 4, 4).tolist()
        self._texts = raw[4 + size :]
        self._where = where

    def longest(self, text: bytes, at: int) -> tuple[str, int] | None:
        """What replaces the text at a place, and how many bytes of it; None where no rule fits there."""
        units, n = self._units, len(self._units)
        node, found = _offset(units[0]), None
        for end in range(at, len(text)):
            node ^= text[end]
            if node >= n or units[node] & 0x800000FF != text[end]:
                break
            unit = units[node]
            node ^= _offset(unit)
            if unit & 0x100:  # a rule ends here; the unit at the next place says where its replacement begins
                if node >= n:
                    raise FormatError(self._where, "rules of normalisation lead out of their trie")
                found = units[node] & 0x7FFFFFFF, end + 1 - at
        return None if found is None else (self._replacement(found[0]), found[1])

    def _replacement(self, start: int) -> str:
        end = self._texts.find(b"\0", start)
        if start > len(self._texts) or end < 0:
            raise FormatError(self._where, "rules of normalisation lead out of their replacements")
        return self._texts[start:end].decode("utf-8", "replace")


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)
