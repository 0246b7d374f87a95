"""Whether a tokenizer makes letters small."""

from typing import Any

__all__ = ["lowers"]


def lowers(normalizer: Any) -> bool:
    """Whether the normalizer of a tokenizer.json makes letters small."""
    if not isinstance(normalizer, dict):
        return False
    if normalizer.get("type") == "BertNormalizer":
        return normalizer.get("lowercase") is True
    return normalizer.get("type") == "Lowercase" or any(map(lowers, normalizer.get("normalizers") or ()))
