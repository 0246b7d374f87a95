"""Tiny transformers models as GGUF files, converted as llama.cpp's converter does it; names come from the `gguf` package."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import PreTrainedModel, RobertaModel

from tests import tiny_checkpoints as tiny
from tests import tiny_encoders as encoders
from tests.gguf_files import PLAIN, Quantised, dequantised, plain, random_rows, write
from tests.models.test_encoder_decoder import random_t5

Change = Callable[[str, np.ndarray, Any], np.ndarray]  # (name in transformers, values, config) -> values as stored


def _same(name: str, values: np.ndarray, config: Any) -> np.ndarray:
    return values


@dataclass(frozen=True, kw_only=True)
class Case:
    """arch: the package's; metadata: of a config; stored: what conversion does to values, and restored its inverse."""

    model: Callable[[], PreTrainedModel]
    arch: gguf.MODEL_ARCH
    metadata: Callable[[Any], dict[str, Any]]
    stored: Change = _same
    restored: Change = _same
    extra: Callable[[Any], Mapping[str, Quantised]] = field(default=lambda config: {})

    @property
    def name(self) -> str:
        return gguf.MODEL_ARCH_NAMES[self.arch]


def write_model(
    path: Path,
    case: Case,
    model: PreTrainedModel,
    kind: str = "F32",
    others: Mapping[str, str] | None = None,
    vocabulary: Mapping[str, Any] | None = None,
) -> Path:
    """kind: type of all matrices, others: of some tensors by their names in the file. The model's become what the file stores,
    for which a quantised one gets random blocks. vocabulary: keys of a tokenizer.
    """
    config = model.config
    deepest = max(config.num_hidden_layers, getattr(config, "num_decoder_layers", 0))
    names = gguf.get_tensor_name_map(case.arch, deepest)
    tensors: dict[str, Quantised] = {}
    parameters = dict(model.named_parameters())
    for i, (name, parameter) in enumerate(parameters.items()):
        if ".experts." in name:
            parts = _of_experts(name, parameter.detach().float().numpy(), kind, others or {})
            with torch.no_grad():
                parameter.copy_(
                    torch.from_numpy(np.concatenate([dequantised(part) for part in parts.values()], axis=1))
                )
            tensors |= parts
            continue
        base, _, last = name.rpartition(".")
        if ".pooler." in f".{name}":  # which converters leave out
            continue
        ours = f"{names.get_name(base)}.{last}"
        values = case.stored(name, parameter.detach().float().numpy(), config)
        is_matrix = values.ndim == 2 and not ours.endswith(_TABLES)
        stored = (others or {}).get(ours, kind if is_matrix else "F32")
        if stored in PLAIN:
            tensors[ours] = plain(stored, values)
        else:
            tensors[ours] = random_rows(stored, *values.shape, seed=i)
        if stored != "F32":
            kept = case.restored(name, dequantised(tensors[ours]), config)
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(kept)))
    keys = {f"{case.name}.{key}": value for key, value in case.metadata(config).items()}
    keys |= {"tokenizer.ggml.model": "none", **(vocabulary or {})}
    return write(path, case.name, keys, tensors | dict(case.extra(config)))


_TABLES = ("position_embd.weight", "token_types.weight", "attn_rel_b.weight")  # float32 in files of every type


def _of_experts(name: str, values: np.ndarray, kind: str, others: Mapping[str, str]) -> dict[str, Quantised]:
    """The matrices of all experts, of which transformers stacks gate and up in one. Of types that the package can write."""
    layer = name.split(".")[2]
    parts = ("down",) if name.endswith("down_proj") else ("gate", "up")
    names = [f"blk.{layer}.ffn_{part}_exps.weight" for part in parts]
    halves = np.split(values, len(names), axis=1)
    return {name: plain(others.get(name, kind), half) for name, half in zip(names, halves, strict=True)}


def _decoder(c: Any) -> dict[str, Any]:
    return {
        "context_length": c.max_position_embeddings,
        "embedding_length": c.hidden_size,
        "block_count": c.num_hidden_layers,
        "feed_forward_length": c.intermediate_size,
        "attention.head_count": c.num_attention_heads,
        "attention.head_count_kv": c.num_key_value_heads,
    }


def _llama(c: Any) -> dict[str, Any]:
    return _decoder(c) | {
        "attention.key_length": c.head_dim,
        "attention.value_length": c.head_dim,
        "attention.layer_norm_rms_epsilon": c.rms_norm_eps,
        "rope.dimension_count": c.head_dim,
        "rope.freq_base": float(c.rope_parameters["rope_theta"]),
        "vocab_size": c.vocab_size,
    }


def _gpt2(c: Any) -> dict[str, Any]:
    return {
        "context_length": c.n_positions,
        "embedding_length": c.n_embd,
        "block_count": c.n_layer,
        "feed_forward_length": c.n_inner or 4 * c.n_embd,
        "attention.head_count": c.n_head,
        "attention.layer_norm_epsilon": c.layer_norm_epsilon,
    }


def _turned(name: str, values: np.ndarray, config: Any) -> np.ndarray:
    """GPT-2's linear layers are stored (in, out) by transformers."""
    return values.T if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else values


def _heads(name: str, config: Any) -> int:
    """Heads of a tensor of queries or keys, 0 for others."""
    part = name.rpartition(".")[0]
    counts = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    return next((count for ending, count in counts.items() if part.endswith(ending)), 0)


def paired(name: str, values: np.ndarray, config: Any) -> np.ndarray:
    """Rows of queries and keys with the two that rope turns together as neighbours."""
    heads = _heads(name, config)
    if not heads:
        return values
    return values.reshape(heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def unpaired(name: str, values: np.ndarray, config: Any) -> np.ndarray:
    """The inverse of `paired`."""
    heads = _heads(name, config)
    if not heads:
        return values
    return values.reshape(heads, -1, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def _llama3_factors(c: Any) -> dict[str, Quantised]:
    """What the converter writes for rope_type llama3: the number by which each frequency is divided."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    stretched, _ = ROPE_INIT_FUNCTIONS["llama3"](c, "cpu")
    plainly = c.rope_parameters["rope_theta"] ** (-np.arange(0, c.head_dim, 2) / c.head_dim)
    return {"rope_freqs.weight": plain("F32", (plainly / stretched.numpy()).astype(np.float32))}


def _linear(c: Any) -> dict[str, Any]:
    return _llama(c) | {"rope.scaling.type": "linear", "rope.scaling.factor": float(c.rope_parameters["factor"])}


def _of(model: Callable[[], PreTrainedModel], metadata=_llama, arch=gguf.MODEL_ARCH.LLAMA, **more: Any) -> Case:
    return Case(model=model, arch=arch, metadata=metadata, **more)


_PAIRED = {"stored": paired, "restored": unpaired}
CASES = {
    "llama": _of(tiny.CASES["llama"], **_PAIRED),
    "llama, llama3 rope": _of(tiny.CASES["llama, llama3 rope"], extra=_llama3_factors, **_PAIRED),
    "llama, linear rope": _of(tiny.CASES["llama, linear rope"], _linear, **_PAIRED),
    "llama, tied": _of(tiny.CASES["llama, tied"], **_PAIRED),
    "llama, biases": _of(tiny.CASES["llama, biases"], **_PAIRED),
    "gpt2": _of(tiny.CASES["gpt2"], _gpt2, gguf.MODEL_ARCH.GPT2, stored=_turned, restored=_turned),
    "gpt2, own hidden size": _of(
        lambda: tiny.gpt2(n_inner=50), _gpt2, gguf.MODEL_ARCH.GPT2, stored=_turned, restored=_turned
    ),
}


def _one_more(name: str, values: np.ndarray, config: Any) -> np.ndarray:
    """Gemma's norms are stored as their difference from 1 by transformers."""
    return values + 1 if name.endswith("norm.weight") else values


def _apart(name: str, values: np.ndarray, config: Any) -> np.ndarray:
    """GPT-NeoX stores query, key and value of one head after another; the file all queries, then all keys, then all values."""
    if "query_key_value" not in name:
        return values
    of_heads = values.reshape(config.num_attention_heads, 3, -1, *values.shape[1:])
    return of_heads.swapaxes(0, 1).reshape(values.shape)


def _apart_by_group(name: str, values: np.ndarray, config: Any) -> np.ndarray:
    """Falcon stores the queries of a group before its key and its value; the file all queries, then all keys, then all values."""
    if "query_key_value" not in name:
        return values
    groups, heads = _falcon_groups(config), config.num_attention_heads
    of_groups = values.reshape(groups, heads // groups + 2, config.head_dim, *values.shape[1:])
    parts = np.split(of_groups, [heads // groups, heads // groups + 1], axis=1)
    return np.concatenate([part.reshape(-1, *values.shape[1:]) for part in parts])


def _falcon_groups(c: Any) -> int:
    return c.num_kv_heads if c.new_decoder_architecture else 1


def _falcon(c: Any) -> dict[str, Any]:
    return {
        "context_length": c.max_position_embeddings,
        "tensor_data_layout": "jploski",
        "embedding_length": c.hidden_size,
        "feed_forward_length": c.ffn_hidden_size,
        "block_count": c.num_hidden_layers,
        "attention.head_count": c.num_attention_heads,
        "attention.head_count_kv": _falcon_groups(c),
        "attention.layer_norm_epsilon": c.layer_norm_epsilon,
    }


def _window(c: Any) -> dict[str, Any]:
    return _decoder_of_rms(c) | {"attention.sliding_window": c.sliding_window}


def _decoder_of_rms(c: Any) -> dict[str, Any]:
    """Heads as wide as the config says, or the width over them."""
    size = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    table = c.rope_parameters.get("full_attention", c.rope_parameters)
    return _decoder(c) | {
        "attention.key_length": size,
        "attention.value_length": size,
        "attention.layer_norm_rms_epsilon": c.rms_norm_eps,
        "rope.freq_base": float(table["rope_theta"]),
    }


def _gemma2(c: Any) -> dict[str, Any]:
    caps = {"attn_logit_softcapping": c.attn_logit_softcapping, "final_logit_softcapping": c.final_logit_softcapping}
    return _window(c) | {key: value for key, value in caps.items() if value is not None}


def _phi3(c: Any) -> dict[str, Any]:
    table = c.rope_parameters
    turned = int(c.hidden_size // c.num_attention_heads * table.get("partial_rotary_factor", 1.0))
    original = getattr(c, "original_max_position_embeddings", None) or table.get("original_max_position_embeddings")
    found = _decoder_of_rms(c) | {"attention.sliding_window": c.sliding_window or 0, "rope.dimension_count": turned}
    if "long_factor" in table:
        factor = max(1.0, c.max_position_embeddings / original)
        found["rope.scaling.attn_factor"] = float(np.sqrt(1 + np.log(factor) / np.log(original)))
    return found | {"rope.scaling.original_context_length": original or c.max_position_embeddings}


def _phi3_factors(c: Any) -> dict[str, Quantised]:
    names = [which for which in ("long", "short") if f"{which}_factor" in c.rope_parameters]
    values = {which: np.array(c.rope_parameters[f"{which}_factor"], np.float32) for which in names}
    return {f"rope_factors_{which}.weight": plain("F32", values[which]) for which in names}


def _experts(c: Any) -> dict[str, Any]:
    count = getattr(c, "num_local_experts", None) or c.num_experts
    found = _decoder_of_rms(c) | {"expert_count": count, "expert_used_count": c.num_experts_per_tok}
    return found | (
        {"expert_feed_forward_length": c.moe_intermediate_size} if hasattr(c, "moe_intermediate_size") else {}
    )


def _granite(c: Any) -> dict[str, Any]:
    return _decoder_of_rms(c) | {
        "embedding_scale": float(c.embedding_multiplier),
        "residual_scale": float(c.residual_multiplier),
        "attention.scale": float(c.attention_multiplier),
        "logit_scale": float(c.logits_scaling),
    }


def _layer_norms(c: Any) -> dict[str, Any]:
    eps = getattr(c, "norm_epsilon", None) or c.layer_norm_eps
    return _decoder(c) | {"attention.layer_norm_epsilon": eps, "rope.freq_base": float(c.rope_parameters["rope_theta"])}


def _starcoder2(c: Any) -> dict[str, Any]:
    return _layer_norms(c) | {"attention.sliding_window": c.sliding_window}


def _partial(c: Any) -> dict[str, Any]:
    size = c.hidden_size // c.num_attention_heads
    share = c.rope_parameters["partial_rotary_factor"]
    parts = {"rope.dimension_count": int(size * share), "use_parallel_residual": c.use_parallel_residual}
    found = _layer_norms(c) if hasattr(c, "num_key_value_heads") else _neox(c)
    return found | parts


def _neox(c: Any) -> dict[str, Any]:
    return {
        "context_length": c.max_position_embeddings,
        "embedding_length": c.hidden_size,
        "block_count": c.num_hidden_layers,
        "feed_forward_length": c.intermediate_size,
        "attention.head_count": c.num_attention_heads,
        "attention.layer_norm_epsilon": c.layer_norm_eps,
        "rope.freq_base": float(c.rope_parameters["rope_theta"]),
    }


_ARCH = gguf.MODEL_ARCH
CASES |= {
    "mistral": _of(tiny.CASES["mistral"], _window, **_PAIRED),
    "qwen2": _of(tiny.CASES["qwen2"], _decoder_of_rms, _ARCH.QWEN2),
    "qwen3": _of(tiny.CASES["qwen3"], _decoder_of_rms, _ARCH.QWEN3),
    "mixtral": _of(tiny.CASES["mixtral"], _experts, **_PAIRED),
    "qwen3_moe": _of(
        lambda: tiny.decoder(
            "Qwen3Moe", head_dim=10, num_experts=7, num_experts_per_tok=3, moe_intermediate_size=26, norm_topk_prob=True
        ),
        _experts,
        _ARCH.QWEN3MOE,
    ),
    "gemma": _of(tiny.CASES["gemma"], _decoder_of_rms, _ARCH.GEMMA, stored=_one_more),
    "gemma2": _of(
        lambda: tiny.decoder(
            "Gemma2",
            head_dim=10,
            sliding_window=13,
            query_pre_attn_scalar=10,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=3.0,
        ),
        _gemma2,
        _ARCH.GEMMA2,
        stored=_one_more,
    ),
    "gemma3_text": _of(
        lambda: tiny.decoder("Gemma3", head_dim=10, num_hidden_layers=7, sliding_window=13, query_pre_attn_scalar=10),
        _window,
        _ARCH.GEMMA3,
        stored=_one_more,
    ),
    "phi3": _of(tiny.CASES["phi3"], _phi3, _ARCH.PHI3),
    "phi3, long rope": _of(tiny.CASES["phi3, long rope"], _phi3, _ARCH.PHI3, extra=_phi3_factors),
    "phi3, part of a head turns": _of(tiny.CASES["phi3, part of a head turns"], _phi3, _ARCH.PHI3, extra=_phi3_factors),
    "olmo2": _of(tiny.CASES["olmo2"], _decoder_of_rms, _ARCH.OLMO2),
    "granite": _of(tiny.CASES["granite"], _granite, _ARCH.GRANITE, **_PAIRED),
    "granite, biases": _of(tiny.CASES["granite, biases"], _granite, _ARCH.GRANITE, **_PAIRED),
    "starcoder2": _of(tiny.CASES["starcoder2"], _starcoder2, _ARCH.STARCODER2),
    "stablelm": _of(tiny.CASES["stablelm"], _partial, _ARCH.STABLELM),
    "falcon": _of(tiny.CASES["falcon"], _falcon, _ARCH.FALCON, stored=_apart_by_group),
    "falcon, grouped": _of(
        lambda: tiny.falcon(new_decoder_architecture=True, num_kv_heads=2),
        _falcon,
        _ARCH.FALCON,
        stored=_apart_by_group,
    ),
    "gpt_neox": _of(tiny.CASES["gpt_neox"], _partial, _ARCH.GPTNEOX, stored=_apart),
}


def wide_llama() -> PreTrainedModel:
    """Every row a multiple of 256, so that all types can store it."""
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 4, "head_dim": 64, "vocab_size": 64}
    return tiny.llama(num_hidden_layers=1, **sizes)


def wide_gpt2() -> PreTrainedModel:
    return tiny.gpt2(n_embd=256, n_inner=256, n_layer=1, vocab_size=64)


def wide_mixtral() -> PreTrainedModel:
    return tiny.decoder("Mixtral", hidden_size=256, intermediate_size=64, num_attention_heads=4, num_local_experts=3)


WIDE = {
    "llama": _of(wide_llama, **_PAIRED),
    "gpt2": _of(wide_gpt2, _gpt2, gguf.MODEL_ARCH.GPT2, stored=_turned, restored=_turned),
    "mixtral": _of(wide_mixtral, _experts, **_PAIRED),
}


def _bert(c: Any) -> dict[str, Any]:
    """Of RoBERTa without the positions that it skips."""
    return {
        "context_length": c.max_position_embeddings - _skipped(c),
        "embedding_length": c.hidden_size,
        "feed_forward_length": getattr(c, "intermediate_size", None) or c.hidden_dim,
        "block_count": c.num_hidden_layers,
        "attention.head_count": c.num_attention_heads,
        "attention.layer_norm_epsilon": getattr(c, "layer_norm_eps", 1e-12),
        "attention.causal": False,
        "pooling_type": 1,
        "vocab_size": c.vocab_size,
    }


def _skipped(c: Any) -> int:
    return c.pad_token_id + 1 if "roberta" in c.model_type else 0


def _without_skipped(name: str, values: np.ndarray, config: Any) -> np.ndarray:
    return values[_skipped(config) :] if "position_embeddings" in name else values


def _encoder(model: Callable[[], PreTrainedModel]) -> Case:
    return _of(model, _bert, _ARCH.BERT, stored=_without_skipped)


ENCODERS = {name: _encoder(encoders.CASES[name]) for name in ("bert", "xlm-roberta", "distilbert")}
ENCODERS["roberta"] = _encoder(lambda: encoders.roberta(RobertaModel, num_attention_heads=6))


def _t5(c: Any) -> dict[str, Any]:
    """The head size twice and the epsilon under two names, as the converter writes them."""
    return {
        "context_length": getattr(c, "n_positions", 512),
        "embedding_length": c.d_model,
        "feed_forward_length": c.d_ff,
        "block_count": c.num_layers,
        "decoder_block_count": c.num_decoder_layers,
        "attention.head_count": c.num_heads,
        "attention.key_length": c.d_kv,
        "attention.value_length": c.d_kv,
        "attention.layer_norm_epsilon": c.layer_norm_epsilon,
        "attention.relative_buckets_count": c.relative_attention_num_buckets,
        "attention.layer_norm_rms_epsilon": c.layer_norm_epsilon,
        "decoder_start_token_id": c.decoder_start_token_id,
    }


def translator(**changes: Any) -> Case:
    """A random T5, with changes of its config."""
    return _of(lambda: random_t5(**changes), _t5, _ARCH.T5)


GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
TRANSLATORS = {
    "t5": translator(),
    "t5, gated": translator(**GATED),
    "t5, more layers in the decoder": translator(num_decoder_layers=3, relative_attention_num_buckets=8),
    "mt5": translator(kind="MT5", **GATED),
}
