"""Embeddings: texts become vectors, the hidden rows of their tokens taken together.

Texts run in the steps of the engine like prompts do, and one text gives the same bytes alone and among others. Pooling is done
here, a text at a time, in double.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from llmos.api.embedding_settings import POOLINGS, EmbeddingSettings
from llmos.core.errors import UserError
from llmos.models import Spec
from llmos.runtime import Engine, Request
from llmos.runtime import Sequence as Running
from llmos.runtime.sequence import HiddenRows
from llmos.text import Tokenizer

__all__ = ["Embedding", "Truncate", "choose_embedding", "embed_ids", "ids_of_texts", "pooling_of", "texts_of"]

Truncate = Literal["error", "end"]
_ROWS: dict[str, HiddenRows] = {"mean": "all", "cls": "first", "last": "last"}
_AT_ONCE = 64  # texts that wait in the engine: enough to fill its steps, and an interrupt has little to clear away


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """How texts are embedded. prompt: put before each; most: tokens that a text may have, its marks included."""

    pooling: str
    normalize: bool
    prompt: str
    most: int
    truncate: Truncate


def choose_embedding(
    spec: Spec,
    stated: EmbeddingSettings | None,
    context: int,
    *,
    pooling: str | None,
    normalize: bool | None,
    prompt: str | None,
    prompt_name: str | None,
    max_tokens: int | None,
    truncate: str,
) -> Embedding:
    """What a caller asks for and else the model, else: the mean of an encoder's rows, a decoder's last, of length 1.

    Raises UserError for what cannot be applied.
    """
    known = stated or EmbeddingSettings()
    if spec.encoder is not None:
        raise UserError("a model that reads a source to write an answer makes no embeddings")
    if known.refused and pooling is None:
        raise UserError(
            f"the model's own embedding needs {'; '.join(known.refused)}, which LLMOS does not do: another model, or pooling="
            f" and normalize= for embeddings of another kind"
        )
    if pooling is not None and pooling not in POOLINGS:
        raise UserError(f"pooling is {pooling!r}; it must be one of {', '.join(POOLINGS)}")
    if normalize is not None and not isinstance(normalize, bool):
        raise UserError(f"normalize is {normalize!r}; it must be true or false")
    if truncate not in ("error", "end"):
        raise UserError(f"truncate is {truncate!r}; it must be 'error' or 'end'")
    before = _prompt(known, prompt, prompt_name)
    if before and known.skip_prompt:
        raise UserError(
            "the model leaves its prompt out of the pooling, which LLMOS does not do: give prompt='' for none"
        )
    normal = normalize if normalize is not None else known.normalize
    return Embedding(
        pooling=pooling or pooling_of(spec, known),
        normalize=True if normal is None else normal,
        prompt=before,
        most=_most(known, spec, context, max_tokens),
        truncate="end" if truncate == "end" else "error",
    )


def pooling_of(spec: Spec, known: EmbeddingSettings) -> str:
    """How rows become one vector unasked: as the model says, else the mean of an encoder's, a decoder's last."""
    return known.pooling or ("mean" if spec.bidirectional else "last")


def _prompt(known: EmbeddingSettings, prompt: str | None, name: str | None) -> str:
    if prompt is not None and name is not None:
        raise UserError("prompt and prompt_name are two ways to say the same: give one of them")
    if prompt is not None:
        if not isinstance(prompt, str):
            raise UserError(f"prompt is {prompt!r}; it must be text")
        return prompt
    name = name if name is not None else known.default_prompt
    if name is not None and name not in known.prompts:
        names = ", ".join(repr(name) for name in sorted(known.prompts)) or "none"
        raise UserError(f"the model has no prompt {name!r}; its prompts: {names}")
    return "" if name is None else known.prompts[name]


def _most(known: EmbeddingSettings, spec: Spec, context: int, wanted: int | None) -> int:
    if wanted is None:
        return min(context, known.max_tokens or context)
    if wanted > context:
        larger = "load the model with a larger one" if context < spec.context else "that is the longest of this model"
        raise UserError(f"max_tokens is {wanted}; the context holds {context}: {larger}")
    return wanted


def texts_of(given: Any) -> list[str]:
    """The texts of one, or of a list or another iterable. Raises UserError for anything else."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Iterable) or isinstance(given, bytes | bytearray | Mapping):
        raise UserError(f"embed takes text or a list of texts, not a {type(given).__name__}")
    texts = list(given)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"embed takes text or a list of texts; item {i} is a {type(text).__name__}")
    return texts


def ids_of_texts(tokenizer: Tokenizer, texts: Sequence[str], how: Embedding) -> tuple[list[list[int]], list[int]]:
    """Ids of each text, and the lengths of those that were too long and are cut. Raises UserError where none may be."""
    ids, cut = [], []
    for i, text in enumerate(texts):
        kept, length = _encoded(tokenizer, how.prompt + text, how)
        if length > how.most and how.truncate == "error":
            which = f"text {i}" if len(texts) > 1 else "the text"
            raise UserError(
                f"{which} has {length} tokens, {how.most} is the most: split it, or pass truncate='end' to leave out its end"
            )
        if not kept:
            raise UserError(f"text {i} is empty and the model puts no token before it: there is nothing to embed")
        ids.append(kept)
        cut += [length] if length > how.most else []
    return ids, cut


def _encoded(tokenizer: Tokenizer, text: str, how: Embedding) -> tuple[list[int], int]:
    if how.truncate == "end":
        return tokenizer.encode_up_to(text, how.most)
    ids = tokenizer.encode(text)
    return ids, len(ids)


def embed_ids(engine: Engine, ids: Sequence[Sequence[int]], how: Embedding, width: int) -> np.ndarray:
    """The embeddings (N, D), float32, of N lists of token ids."""
    out = np.empty((len(ids), width), np.float32)
    requests = [Request(ids=tuple(each), hidden=_ROWS[how.pooling]) for each in ids]
    for i, rows in enumerate(_hidden_rows(engine, requests)):
        out[i] = _pooled(rows, how)
    return out


def _hidden_rows(engine: Engine, requests: Sequence[Request]) -> Iterator[np.ndarray]:
    """The rows of each request in turn, while those after it run beside it."""
    waiting: list[Running] = []
    try:
        for request in requests:
            waiting.append(engine.submit(request))
            if len(waiting) >= _AT_ONCE:
                yield _finished(engine, waiting.pop(0))
        while waiting:
            yield _finished(engine, waiting.pop(0))
    finally:
        for running in waiting:
            engine.cancel(running)


def _finished(engine: Engine, running: Running) -> np.ndarray:
    try:
        engine.wait(running)
    finally:
        engine.cancel(running)
    if running.finish_reason != "stop":
        raise UserError("the model was closed while it was embedding")
    return np.stack(running.hidden)


def _pooled(rows_TD: np.ndarray, how: Embedding) -> np.ndarray:
    x_D = rows_TD.mean(0, dtype=np.float64)  # of one row, where pooling takes one
    return x_D / max(float(np.sqrt((x_D * x_D).sum())), 1e-12) if how.normalize else x_D
