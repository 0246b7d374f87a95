"""Rope as GGUF metadata has it, in the fields of a config.json.

What stretches it is named by kind, or is a tensor of factors, one for each frequency (how llama.cpp's converter stores Llama
3's and Phi 3's stretching). Source: llama.cpp, `llama-model.cpp` (load_hparams) and `ggml_rope_ext`.
"""

import math
from collections.abc import Mapping
from typing import Any

from llmos.core.errors import UserError
from llmos.models.fields import Fields
from llmos.models.gguf import Gguf

__all__ = ["FACTOR_TENSORS", "rope_fields"]

FACTOR_TENSORS = ("rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight")


def rope_fields(keys: Fields, gguf: Gguf, head_dim: int, factors: Mapping[str, list[float]]) -> dict[str, Any]:
    """rope_parameters, and the share of a head that turns. keys: those of the architecture."""
    table: dict[str, Any] = {"rope_type": "default", "rope_theta": keys.number("rope.freq_base", 10000.0)}
    kind = keys.choice("rope.scaling.type", {name: name for name in _KINDS}, "none")
    table |= _KINDS[kind](keys)
    if factors:
        if kind not in ("none", "longrope"):
            raise UserError(
                f"{keys.where}: rope is stretched twice: by rope.scaling.type {kind} and by a tensor of factors"
            )
        table |= _by_factors(keys, factors)
    elif kind == "longrope":
        raise UserError(f"{keys.where}: rope.scaling.type is longrope, but there is no tensor of factors")
    return {"rope_parameters": table} | _share(keys, gguf, head_dim)


def _share(keys: Fields, gguf: Gguf, head_dim: int) -> dict[str, float]:
    turned = keys.integer("rope.dimension_count", head_dim)
    if turned > head_dim or (turned < head_dim and gguf.share is None):
        raise UserError(
            f"{keys.where}: rope.dimension_count is {turned}, heads have {head_dim} dimensions: not supported"
        )
    if gguf.share is None:
        return {}
    share = turned / head_dim
    # Who reads it multiplies again and rounds down, which must give the same number.
    return {gguf.share: share if int(head_dim * share) == turned else (turned + 0.5) / head_dim}


def _none(keys: Fields) -> dict[str, Any]:
    keys.read |= {"rope.scaling.original_context_length"}  # of nothing that is stretched
    scale = keys.number("rope.scale_linear", 1.0)
    factor = keys.number("rope.scaling.factor", scale)
    return {} if factor in (0.0, 1.0) else {"rope_type": "linear", "factor": factor}


def _linear(keys: Fields) -> dict[str, Any]:
    keys.read |= {"rope.scaling.original_context_length"}
    return {"rope_type": "linear", "factor": keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 1.0))}


def _yarn(keys: Fields) -> dict[str, Any]:
    factor = keys.number("rope.scaling.factor")
    keys.expect("rope.scaling.yarn_ext_factor", 1.0)
    sharpening = 1.0 if factor <= 1 else 0.1 * math.log(factor) + 1.0
    return {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": keys.integer("rope.scaling.original_context_length"),
        "beta_fast": keys.number("rope.scaling.yarn_beta_fast", 32.0),
        "beta_slow": keys.number("rope.scaling.yarn_beta_slow", 1.0),
        "attention_factor": keys.number("rope.scaling.attn_factor", 1.0) * sharpening,
    }


def _longrope(keys: Fields) -> dict[str, Any]:
    return {}


def _by_factors(keys: Fields, factors: Mapping[str, list[float]]) -> dict[str, Any]:
    """One tensor for all contexts, or a short and a long one."""
    short, long = (factors.get(f"rope_factors_{which}.weight") for which in ("short", "long"))
    every = factors.get("rope_freqs.weight")
    if every is not None:
        short, long = every, every
    if short is None or long is None:
        raise UserError(f"{keys.where}: of the tensors rope_factors_short and rope_factors_long only one is there")
    context = keys.integer("context_length")
    keys.read |= {"rope.scaling.factor"}
    return {
        "rope_type": "longrope",
        "short_factor": short,
        "long_factor": long,
        "original_max_position_embeddings": keys.integer("rope.scaling.original_context_length", context),
        "attention_factor": keys.number("rope.scaling.attn_factor", 1.0),
    }


_KINDS = {"none": _none, "linear": _linear, "yarn": _yarn, "longrope": _longrope}
