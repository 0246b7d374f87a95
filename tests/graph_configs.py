"""Configs of small models of every shape that graphs take."""

LLAMA = {
    "model_type": "llama",
    "hidden_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "intermediate_size": 20,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "vocab_size": 31,
    "max_position_embeddings": 64,
    "attention_bias": True,
}
GPT2 = {
    "model_type": "gpt2",
    "n_embd": 24,
    "n_head": 4,
    "n_layer": 2,
    "vocab_size": 31,
    "n_positions": 64,
    "layer_norm_epsilon": 1e-5,
}
BERT = {
    "model_type": "bert",
    "hidden_size": 24,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 20,
    "vocab_size": 31,
    "max_position_embeddings": 64,
}
SIZES = {name: value for name, value in LLAMA.items() if name not in ("model_type", "hidden_act", "rms_norm_eps")}
LONG = {"rope_type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 9.0]}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
CONFIGS = {
    "llama": LLAMA,
    "gpt2": GPT2,
    "bert": BERT,
    "falcon": {
        "model_type": "falcon",
        "vocab_size": 31,
        "hidden_size": 24,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "ffn_hidden_size": 20,
        "num_kv_heads": 2,
        "new_decoder_architecture": True,
        "bias": True,
    },
    "gemma2": SIZES | {"model_type": "gemma2", "head_dim": 6, "sliding_window": 5, "attn_logit_softcapping": 1.5},
    "gemma3_text": SIZES
    | {"model_type": "gemma3_text", "head_dim": 6, "sliding_window": 3, "sliding_window_pattern": 2},
    "granite": SIZES
    | {"model_type": "granite", "embedding_multiplier": 3.0, "residual_multiplier": 0.3, "logits_scaling": 7.0},
    "mixtral": SIZES | {"model_type": "mixtral", "num_local_experts": 3, "attention_bias": None},
    "olmo2": SIZES | {"model_type": "olmo2"},
    "opt": {
        "model_type": "opt",
        "vocab_size": 31,
        "hidden_size": 24,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "ffn_dim": 20,
        "word_embed_proj_dim": 14,
        "do_layer_norm_before": False,
    },
    "phi3": SIZES
    | {
        "model_type": "phi3",
        "attention_bias": False,
        "original_max_position_embeddings": 32,
        "partial_rotary_factor": 0.7,
        "rope_scaling": LONG,
    },
    "qwen3": SIZES | {"model_type": "qwen3", "intermediate_size": 64, "head_dim": 6, "rope_scaling": YARN},
    "stablelm": SIZES
    | {"model_type": "stablelm", "use_parallel_residual": True, "qk_layernorm": True, "partial_rotary_factor": 0.7},
}
for name in ("mixtral", "stablelm"):
    del CONFIGS[name]["attention_bias"]
