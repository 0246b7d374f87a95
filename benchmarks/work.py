"""Bytes and operations that a shape's tokens need: what a measured speed is a share of. The same counting for every side."""

from typing import Any

import numpy as np
from shapes import SHAPES, tensors

__all__ = ["bytes_per_token", "prefill_roof_s"]

_KV_BYTES = 2  # of a stored key or value


def bytes_per_token(shape: str, file_bytes: int, context: int) -> float:
    """Weights and stored context that one sequence reads for a token. A table that is not the head too is hardly read."""
    config = SHAPES[shape]
    sizes = {name: int(np.prod(size)) for name, size in tensors(config).items()}
    table = 0 if config["tie_word_embeddings"] else sizes["model.embed_tokens.weight"]
    weights = file_bytes * (1 - table / sum(sizes.values()))
    kv = 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"] * _KV_BYTES
    return weights + context * kv


def prefill_roof_s(shape: str, tokens: int, linear_ops_per_s: float, attention_ops_per_s: float) -> float:
    """Seconds that the layers need for a prompt at these peaks, the head once; attention is causal, so half a square."""
    config = SHAPES[shape]
    linear, attention = _operations(config, tokens)
    return linear / linear_ops_per_s + attention / attention_ops_per_s


def _operations(config: dict[str, Any], tokens: int) -> tuple[float, float]:
    matrices = sum(
        int(np.prod(size)) for name, size in tensors(config).items() if ".layers." in name and len(size) == 2
    )
    head = config["vocab_size"] * config["hidden_size"]
    width = config["num_attention_heads"] * config["head_dim"]
    return 2.0 * (matrices * tokens + head), 2.0 * config["num_hidden_layers"] * width * tokens**2
