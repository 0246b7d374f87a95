"""The embedded model on held-out text: what a format does to a trained model, measured against float32."""

import json
import lzma
import math
from pathlib import Path

import numpy as np

import llm
from llmos.api.prepare import prepare
from llmos.runtime import Batch, NativeExecutor, Output

__all__ = ["MODEL", "divergence", "log_softmax", "logits", "windows"]

MODEL = "llmos-mini"
_WINDOW, _WINDOWS = 256, 12


def windows(data: Path) -> np.ndarray:
    """(12, 256) ids of a held-out book. data: the test suite's data folder."""
    with lzma.open(data / "eval" / "books_heldout.jsonl.xz", "rt", encoding="utf-8") as file:
        text = json.loads(next(file))["text"][2000:40000]
    with llm.load_model(MODEL) as model:
        ids = model.tokenize(text)
    return np.array(ids[: _WINDOW * _WINDOWS]).reshape(_WINDOWS, _WINDOW)


def logits(format: str, ids: np.ndarray) -> tuple[np.ndarray, int]:
    """(windows, tokens, vocab) of compiled code with weights in a format, and the bytes that these take."""
    prepared = prepare(MODEL, weights=format, context=_WINDOW)
    executor = NativeExecutor(prepared.program, threads=2, n_pages=8, max_tokens=_WINDOW, max_outputs=_WINDOW)
    out = []
    for window in ids:
        batch = Batch(token_ids=window.tolist(), positions=[*range(_WINDOW)], sequence=[0] * _WINDOW)
        batch.block_table, batch.want_logits = [[*range(8)]], True
        batch.outputs = [Output(row=i) for i in range(_WINDOW)]
        out.append(executor.step(batch).logits.astype(np.float64))
    executor.close()
    return np.stack(out), prepared.program.weights_bytes


def divergence(got: np.ndarray, reference: np.ndarray, ids: np.ndarray) -> dict[str, float]:
    """Mean KL from the reference in nats, how often the first choice is the same, and how much perplexity rises."""
    exact, logprobs = log_softmax(reference), log_softmax(got)
    return {
        "mean_kl": max(0.0, float((np.exp(exact) * (exact - logprobs)).sum(-1).mean())),
        "agreement": float((got.argmax(-1) == reference.argmax(-1)).mean()),
        "perplexity": math.exp(_loss(logprobs, ids)),
        "perplexity_rise": math.exp(_loss(logprobs, ids) - _loss(exact, ids)) - 1,
    }


def log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _loss(logprobs: np.ndarray, ids: np.ndarray) -> float:
    """Mean negative log-likelihood of each token after the first of its window."""
    return float(-np.take_along_axis(logprobs[:, :-1], ids[:, 1:, None], -1).mean())
