"""Token shards: one raw little-endian file of token ids per source, mapped into memory, with a JSON card beside it.

Every document is preceded by the document token. The card names the hashes of the source and of the tokenizer; a shard
whose card does not match is encoded again, so a changed source or vocabulary can never be read by mistake.
"""

import itertools
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from llmos.core.errors import FormatError, UserError
from llmos.core.files import atomic_write, sha256_file
from llmos.trainer.documents import documents
from llmos.trainer.recipe import Source
from llmos.trainer.tokenizer import open_tokenizer

__all__ = ["Card", "open_shard", "prepare_shard"]

_BATCH = 64  # documents encoded at once: enough for every core, few enough for the memory of long books


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a shard holds. text_bytes counts UTF-8 bytes without the document tokens."""

    tokens: int
    documents: int
    text_bytes: int
    dtype: str
    source_sha256: str
    tokenizer_sha256: str
    version: int = 1


def prepare_shard(source: Source, tokenizer: Path, folder: Path) -> Path:
    """The shard of a source, encoded now unless a fitting one is there. Returns the path of its .bin file."""
    path = folder / f"{source.name}.bin"
    if not source.path.exists():
        raise UserError(
            f"source {source.name}: there is no file {source.path}; correct data.sources or fetch the data first"
        )
    hashes = {"source_sha256": sha256_file(source.path), "tokenizer_sha256": sha256_file(tokenizer / "tokenizer.json")}
    if path.exists() and _card_path(path).exists():
        card = asdict(read_card(path))
        if all(card[name] == value for name, value in hashes.items()):
            return path
    _encode(source, tokenizer, path, hashes)
    return path


def open_shard(path: Path) -> np.ndarray:
    """The tokens (N,), mapped read-only. Raises FormatError where the file does not have the size that its card states."""
    card = read_card(path)
    expected = card.tokens * np.dtype(card.dtype).itemsize
    if path.stat().st_size != expected:
        raise FormatError(
            path, f"has {path.stat().st_size} bytes, its card says {expected}: delete both to encode again"
        )
    return np.memmap(path, dtype=card.dtype, mode="r")


def read_card(path: Path) -> Card:
    """The card of a shard."""
    try:
        return Card(**json.loads(_card_path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise FormatError(_card_path(path), f"not the card of a shard ({error}): delete it to encode again") from error


def _card_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _encode(source: Source, tokenizer: Path, path: Path, hashes: dict[str, str]) -> None:
    encoder = open_tokenizer(tokenizer)
    dtype = "<u2" if encoder.get_vocab_size() <= 65536 else "<u4"
    n_tokens = n_documents = n_bytes = 0
    texts = documents(source)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    with atomic_write(path) as file:
        while batch := list(itertools.islice(texts, _BATCH)):
            for encoding in encoder.encode_batch_fast(batch):
                ids = np.asarray(encoding.ids, dtype=dtype)
                file.write(ids.tobytes())
                n_tokens += len(ids)
            n_documents += len(batch)
            n_bytes += sum(len(text.encode()) for text in batch)
    card = Card(
        tokens=n_tokens,
        documents=n_documents,
        text_bytes=n_bytes,
        dtype=dtype,
        source_sha256=hashes["source_sha256"],
        tokenizer_sha256=hashes["tokenizer_sha256"],
    )
    with atomic_write(_card_path(path)) as file:
        file.write(json.dumps(asdict(card), indent=1).encode())
