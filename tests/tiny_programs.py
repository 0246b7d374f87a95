"""Compiled tiny models for the tests of the runtime."""

import json

import numpy as np

from llmos.api.assemble import fill_weights, rope_tables, weights_bytes
from llmos.compiler import Options, Target, build_graph, compile_code, target_named
from llmos.hardware import features
from llmos.models import FAMILIES, shapes, sources, spec_from_config
from llmos.native import include_dir, sources_hash
from llmos.runtime import Program, native_packer
from llmos.weights import Parameters, Tensor, open_checkpoint

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "num_hidden_layers": 2,
    "intermediate_size": 76,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "vocab_size": 120,
    "max_position_embeddings": 192,
    "tie_word_embeddings": True,
}


# What else the bytes could depend on: operations that small odd sizes leave out (a gated MLP's products and activation in one, which
# wants whole groups of 32, and draws from the largest scores, which want 144 ids for each thread: three threads have room); windows,
# caps and head norms; experts, which gather tokens of several sequences.
SIZES = {name: value for name, value in CONFIG.items() if name not in ("model_type", "hidden_act")}
CONFIGS = {
    "llama": CONFIG,
    "fused": CONFIG | {"intermediate_size": 96, "vocab_size": 435},
    "windows": SIZES
    | {"model_type": "gemma2", "intermediate_size": 96, "sliding_window": 37, "attn_logit_softcapping": 4.0},
    "experts": SIZES
    | {"model_type": "qwen3_moe", "num_experts": 5, "num_experts_per_tok": 2}
    | {"moe_intermediate_size": 40, "use_sliding_window": True, "sliding_window": 50},
}


def random_program(weights: str, kv: str, target: str | Target | None = None, model: str = "llama") -> Program:
    """A random model of odd sizes, one of CONFIGS. target: as users name it, or itself."""
    spec = spec_from_config(CONFIGS[model])
    rng = np.random.default_rng(0)
    w = {n: Tensor("float32", rng.normal(0.1, 0.3, s).astype(np.float32)) for n, s in shapes(spec).items()}
    return program(spec, w, weights, kv, target)


def folder_program(folder, weights: str, kv: str, target: str | None = None, context: int | None = None) -> Program:
    """A checkpoint in the Hugging Face layout. context: positions to make room for, None for all that the model has."""
    spec = spec_from_config(json.loads((folder / "config.json").read_text()))
    family = FAMILIES[spec.family]
    found = Parameters(
        open_checkpoint(folder),
        sources(spec),
        shapes(spec),
        prefixes=family.PREFIXES,
        unused=family.UNUSED,
        tied=spec.tied,
    )
    return program(spec, found, weights, kv, target, context)


def program(
    spec, parameters, weights: str, kv: str, target: str | Target | None = None, context: int | None = None
) -> Program:
    graph = build_graph(spec, Options(weights=weights, kv=kv))
    chosen = target if isinstance(target, Target) else target_named(target, features())
    library = compile_code(graph, chosen, include=include_dir(), kernels_hash=sources_hash())
    return Program(
        library=library,
        vocab=spec.vocab,
        width=spec.width,
        context=context or spec.context,
        weights_bytes=weights_bytes(graph),
        fill_weights=lambda out: fill_weights(graph, parameters, out, pack_rows=native_packer(library)),
        rope=rope_tables(spec, context or spec.context),
        whole=spec.bidirectional,
    )
