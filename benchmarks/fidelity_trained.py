"""What number formats do to a trained model: the embedded one, on held-out text."""

import json
import lzma
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fidelity_models import error, number

import llm
from llmos.api.prepare import prepare
from llmos.compiler import FORMATS
from llmos.runtime import Batch, NativeExecutor, Output

__all__ = ["trained_formats"]

_WINDOW, _WINDOWS = 256, 12


def trained_formats(data: Path) -> Iterator[list[str]]:
    """A row for each format: largest logit error, mean KL in nats, top-1 agreement, rise of perplexity, all against float32."""
    windows = _windows(data)
    reference = _logits("float32", windows)
    exact = _log_softmax(reference)
    for format in FORMATS:
        got = _logits(format, windows)
        logprobs = _log_softmax(got)
        kl = float((np.exp(exact) * (exact - logprobs)).sum(-1).mean())
        agreement = float((got.argmax(-1) == reference.argmax(-1)).mean())
        rise = math.exp(_loss(logprobs, windows) - _loss(exact, windows)) - 1
        print(f"{format}: {error(got, reference)} {kl} {agreement} {rise}", flush=True)
        yield [format, number(error(got, reference)), number(max(kl, 0)), f"{agreement:.2%}", f"{rise:+.2%}"]


def _windows(data: Path) -> np.ndarray:
    with lzma.open(data / "eval" / "books_heldout.jsonl.xz", "rt", encoding="utf-8") as file:
        text = json.loads(next(file))["text"][2000:40000]
    with llm.load_model("llmos-mini") as model:
        ids = model.tokenize(text)
    return np.array(ids[: _WINDOW * _WINDOWS]).reshape(_WINDOWS, _WINDOW)


def _logits(format: str, windows: np.ndarray) -> np.ndarray:
    prepared = prepare("llmos-mini", weights=format, context=_WINDOW)
    executor = NativeExecutor(prepared.program, threads=2, n_pages=8, max_tokens=_WINDOW, max_outputs=_WINDOW)
    out = []
    for ids in windows:
        batch = Batch(token_ids=ids.tolist(), positions=[*range(_WINDOW)], sequence=[0] * _WINDOW)
        batch.block_table, batch.want_logits = [[*range(8)]], True
        batch.outputs = [Output(row=i) for i in range(_WINDOW)]
        out.append(executor.step(batch).logits.astype(np.float64))
    executor.close()
    return np.stack(out)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _loss(logprobs: np.ndarray, windows: np.ndarray) -> float:
    """Mean negative log-likelihood of each token after the first of its window."""
    return float(-np.take_along_axis(logprobs[:, :-1], windows[:, 1:, None], -1).mean())
