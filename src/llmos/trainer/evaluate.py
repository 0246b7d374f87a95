"""Bits per byte on held-out text: comparable between tokenizers, which perplexity is not."""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["bits_per_byte"]


@torch.no_grad()
def bits_per_byte(
    score: Callable[[Tensor], Tensor],
    tokens: np.ndarray,
    text_bytes: int,
    length: int,
    stride: int | None = None,
    batch: int = 8,
) -> float:
    """Bits that the model needs per UTF-8 byte of a token stream.

    score: tokens (B, length) to logits (B, length, V). Every token but the first is predicted exactly once: windows start
    `stride` tokens apart (default `length`) and only a window's tokens that no earlier one predicted are counted.
    Document tokens, which have no bytes, cost their bits all the same.
    """
    stride = stride or length
    n_targets = len(tokens) - 1
    starts = list(range(0, max(1, n_targets - length + stride), stride))
    total_nats = 0.0
    for i in range(0, len(starts), batch):
        window = np.zeros((len(starts[i : i + batch]), length + 1), dtype=np.int64)
        wanted = np.zeros((len(window), length), dtype=bool)
        for row, start in enumerate(starts[i : i + batch]):
            piece = tokens[start : start + length + 1]
            window[row, : len(piece)] = piece
            wanted[row, (0 if start == 0 else length - stride) : len(piece) - 1] = True
        nats = F.cross_entropy(
            score(torch.from_numpy(window[:, :-1])).float().mT, torch.from_numpy(window[:, 1:]), reduction="none"
        )
        total_nats += float(nats[torch.from_numpy(wanted)].double().sum())
    return total_nats / math.log(2) / text_bytes
