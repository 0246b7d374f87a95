"""What a checkpoint was trained for: heads that neither write nor embed are refused as what they are."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError

__all__ = ["check_purpose"]

_HEAD = re.compile(r"(?:classifier|pre_classifier|score|qa_outputs|classification_head)\..*")


def check_purpose(config: Mapping[str, Any], names: Iterable[str], where: Path) -> None:
    """Raise FormatError for the checkpoint of a classifier, a reranker or an extractor of answers, by the tensors of its head."""
    heads = sorted(name for name in names if _HEAD.fullmatch(name))
    if not heads:
        return
    stated = config.get("architectures")
    what = stated[0] if isinstance(stated, list) and stated and isinstance(stated[0], str) else "a classifier"
    raise FormatError(
        where,
        f"is {what} with a head of its own ({heads[0]}), which LLMOS does not compute, and without it the rest is not what it was "
        "trained for: take a model that writes text, or one made for embeddings, such as sentence-transformers/all-MiniLM-L6-v2",
    )
