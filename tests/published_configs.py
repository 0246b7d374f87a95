"""Configs as they are published on the Hub, with every field that they have but the versions of tools that wrote them."""

__all__ = ["PUBLISHED"]

_PLAIN = {"architectures": ["X"], "torch_dtype": "bfloat16", "transformers_version": "4.40.0", "use_cache": True}
_PLAIN |= {"bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.02}
_DECODER = _PLAIN | {"attention_dropout": 0.0, "hidden_act": "silu", "tie_word_embeddings": False}


def _sizes(width: int, layers: int, heads: int, hidden: int, vocab: int, context: int, kv: int | None = None) -> dict:
    out = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "vocab_size": vocab}
    out |= {"intermediate_size": hidden, "max_position_embeddings": context}
    return out if kv is None else out | {"num_key_value_heads": kv}


_QWEN3 = {"attention_bias": False, "head_dim": 128, "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 1000000}
_QWEN3 |= {"sliding_window": None, "use_sliding_window": False}
_PHI3 = {"_name_or_path": "x", "attention_bias": False, "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}}
_PHI3 |= {"embd_pdrop": 0.0, "model_type": "phi3", "original_max_position_embeddings": 4096, "pad_token_id": 32000}
_PHI3 |= {"resid_pdrop": 0.0, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 262144}
_GEMMA3_VISION = {
    "hidden_size": 1152,
    "image_size": 896,
    "intermediate_size": 4304,
    "model_type": "siglip_vision_model",
}
_GEMMA3_VISION |= {"num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False}


_OPT = {name: value for name, value in _PLAIN.items() if name != "initializer_range"} | {"init_std": 0.02}


def _long(pairs: int) -> dict:
    return {"long_factor": [1.0 + i for i in range(pairs)], "short_factor": [1.0] * pairs, "type": "longrope"}


PUBLISHED = {
    "Mistral-7B-v0.1": _DECODER
    | _sizes(4096, 32, 32, 14336, 32000, 32768, 8)
    | {"model_type": "mistral", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 4096},
    "Mistral-7B-Instruct-v0.3": _DECODER
    | _sizes(4096, 32, 32, 14336, 32768, 32768, 8)
    | {"model_type": "mistral", "rms_norm_eps": 1e-5, "rope_theta": 1000000.0, "sliding_window": None},
    "Mistral-Nemo-Base-2407": _DECODER
    | _sizes(5120, 40, 32, 14336, 131072, 128000, 8)
    | {"model_type": "mistral", "head_dim": 128, "rms_norm_eps": 1e-5, "rope_theta": 1e6, "sliding_window": None},
    "Mixtral-8x7B-v0.1": _DECODER
    | _sizes(4096, 32, 32, 14336, 32000, 32768, 8)
    | {"model_type": "mixtral", "num_experts_per_tok": 2, "num_local_experts": 8, "output_router_logits": False}
    | {"rms_norm_eps": 1e-5, "rope_theta": 1e6, "router_aux_loss_coef": 0.02, "sliding_window": None},
    "Qwen2.5-7B-Instruct": _DECODER
    | _sizes(3584, 28, 28, 18944, 152064, 32768, 4)
    | {"max_window_layers": 28, "model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_theta": 1000000.0}
    | {"sliding_window": 131072, "use_sliding_window": False},
    "Qwen2.5-7B": _DECODER
    | _sizes(3584, 28, 28, 18944, 152064, 131072, 4)
    | {"max_window_layers": 28, "model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_theta": 1000000.0}
    | {"sliding_window": 131072, "use_mrope": False, "use_sliding_window": False},
    "Qwen3-8B": _DECODER
    | _sizes(4096, 36, 32, 12288, 151936, 40960, 8)
    | _QWEN3
    | {"max_window_layers": 36, "model_type": "qwen3"},
    "Qwen3-30B-A3B": _DECODER
    | _sizes(2048, 48, 32, 6144, 151936, 40960, 4)
    | _QWEN3
    | {"decoder_sparse_step": 1, "max_window_layers": 48, "mlp_only_layers": [], "model_type": "qwen3_moe"}
    | {"moe_intermediate_size": 768, "norm_topk_prob": True, "num_experts": 128, "num_experts_per_tok": 8}
    | {"output_router_logits": False, "router_aux_loss_coef": 0.001},
    "gemma-2b": _PLAIN
    | _sizes(2048, 18, 8, 16384, 256000, 8192, 1)
    | {"attention_bias": False, "attention_dropout": 0.0, "head_dim": 256, "hidden_act": "gelu", "model_type": "gemma"}
    | {"hidden_activation": None, "pad_token_id": 0, "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 10000.0},
    "gemma-2-2b": _PLAIN
    | _sizes(2304, 26, 8, 9216, 256000, 8192, 4)
    | {"attention_bias": False, "attention_dropout": 0.0, "attn_logit_softcapping": 50.0, "model_type": "gemma2"}
    | {"cache_implementation": "hybrid", "final_logit_softcapping": 30.0, "head_dim": 256, "pad_token_id": 0}
    | {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256}
    | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "sliding_window": 4096},
    "gemma-2-27b": _PLAIN
    | _sizes(4608, 46, 32, 36864, 256000, 8192, 16)
    | {"_attn_implementation": "eager", "attention_bias": False, "attention_dropout": 0.0, "model_type": "gemma2"}
    | {"attn_logit_softcapping": 50.0, "cache_implementation": "hybrid", "final_logit_softcapping": 30.0}
    | {"head_dim": 128, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "pad_token_id": 0}
    | {"query_pre_attn_scalar": 144, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "sliding_window": 4096}
    | {"sliding_window_size": 4096},
    "gemma-3-1b-it": _PLAIN
    | _sizes(1152, 26, 4, 6912, 262144, 32768, 1)
    | {"attention_bias": False, "attention_dropout": 0.0, "attn_logit_softcapping": None, "model_type": "gemma3_text"}
    | {"cache_implementation": "hybrid", "eos_token_id": [1, 106], "final_logit_softcapping": None, "head_dim": 256}
    | {"hidden_activation": "gelu_pytorch_tanh", "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6}
    | {"rope_local_base_freq": 10000, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": 512}
    | {"sliding_window_pattern": 6},
    "gemma-3-4b-it": {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "boi_token_index": 255999,
        "eoi_token_index": 256000,
        "eos_token_id": [1, 106],
        "image_token_index": 262144,
        "initializer_range": 0.02,
        "mm_tokens_per_image": 256,
        "model_type": "gemma3",
        "text_config": {
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "model_type": "gemma3_text",
            "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024,
        },
        "torch_dtype": "bfloat16",
        "transformers_version": "4.50.0.dev0",
        "vision_config": _GEMMA3_VISION,
    },
    "Phi-3-mini-4k-instruct": _DECODER
    | _sizes(3072, 32, 32, 8192, 32064, 4096, 32)
    | _PHI3
    | {"rope_scaling": None, "sliding_window": 2047},
    "Phi-3.5-mini-instruct": _DECODER
    | _sizes(3072, 32, 32, 8192, 32064, 131072, 32)
    | _PHI3
    | {"rope_scaling": _long(48)},
    "Phi-4-mini-instruct": _DECODER
    | _sizes(3072, 32, 24, 8192, 200064, 131072, 8)
    | _PHI3
    | {"full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": False, "mlp_bias": False}
    | {"pad_token_id": 199999, "partial_rotary_factor": 0.75, "rope_scaling": _long(48), "tie_word_embeddings": True},
    "OLMo-2-1124-7B": _DECODER
    | _sizes(4096, 32, 32, 11008, 100352, 4096, 32)
    | {"attention_bias": False, "model_type": "olmo2", "pad_token_id": 100277, "rms_norm_eps": 1e-6}
    | {"rope_scaling": None, "rope_theta": 500000},
    "granite-3.1-8b-instruct": _DECODER
    | _sizes(4096, 40, 32, 12800, 49155, 131072, 8)
    | {"attention_bias": False, "attention_dropout": 0.1, "attention_multiplier": 0.0078125, "model_type": "granite"}
    | {"embedding_multiplier": 12.0, "logits_scaling": 16.0, "mlp_bias": False, "residual_multiplier": 0.22}
    | {"rms_norm_eps": 1e-5, "rope_scaling": None, "rope_theta": 10000000.0, "tie_word_embeddings": True},
    "starcoder2-3b": _PLAIN
    | _sizes(3072, 30, 24, 12288, 49152, 16384, 2)
    | {"attention_dropout": 0.1, "attention_softmax_in_fp32": True, "embedding_dropout": 0.1, "mlp_type": "default"}
    | {"hidden_act": "gelu_pytorch_tanh", "layer_norm_epsilon": 1e-5, "model_type": "starcoder2", "norm_epsilon": 1e-5}
    | {"norm_type": "layer_norm", "residual_dropout": 0.1, "rope_theta": 999999.4420358813, "sliding_window": 4096}
    | {"scale_attention_softmax_in_fp32": True, "scale_attn_weights": True, "use_bias": True},
    "stablelm-2-1_6b": _PLAIN
    | _sizes(2048, 24, 32, 5632, 100352, 4096, 32)
    | {"hidden_act": "silu", "layer_norm_eps": 1e-5, "model_type": "stablelm", "partial_rotary_factor": 0.25}
    | {"rope_theta": 10000, "tie_word_embeddings": False, "use_qkv_bias": True},
    "stablelm-2-12b": _DECODER
    | _sizes(5120, 40, 32, 13824, 100352, 4096, 8)
    | {"hidden_dropout": 0.0, "layer_norm_eps": 1e-5, "model_type": "stablelm", "partial_rotary_factor": 0.25}
    | {"qk_layernorm": True, "rope_scaling": None, "rope_theta": 10000, "use_parallel_residual": True}
    | {"use_qkv_bias": False},
    "pythia-160m": _PLAIN
    | _sizes(768, 12, 12, 3072, 50304, 2048)
    | {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "model_type": "gpt_neox", "rotary_emb_base": 10000}
    | {"rotary_pct": 0.25, "tie_word_embeddings": False, "use_parallel_residual": True},
    "gpt-neox-20b": _PLAIN
    | _sizes(6144, 44, 64, 24576, 50432, 2048)
    | {"attention_probs_dropout_prob": 0, "hidden_act": "gelu_fast", "hidden_dropout_prob": 0, "layer_norm_eps": 1e-5}
    | {"model_type": "gpt_neox", "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": False}
    | {"use_parallel_residual": True},
    "opt-125m": _OPT
    | {"_name_or_path": "facebook/opt-125m", "_remove_final_layer_norm": False, "activation_dropout": 0.0}
    | {"activation_function": "relu", "attention_dropout": 0.0, "do_layer_norm_before": True, "dropout": 0.1}
    | {"ffn_dim": 3072, "hidden_size": 768, "layerdrop": 0.0, "max_position_embeddings": 2048}
    | {"model_type": "opt", "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1, "prefix": "</s>"}
    | {"vocab_size": 50272, "word_embed_proj_dim": 768},
    "opt-350m": _OPT
    | {"activation_dropout": 0.0, "activation_function": "relu", "attention_dropout": 0.0, "dropout": 0.1}
    | {"do_layer_norm_before": False, "ffn_dim": 4096, "hidden_size": 1024, "layerdrop": 0.0}
    | {"max_position_embeddings": 2048, "model_type": "opt", "num_attention_heads": 16, "num_hidden_layers": 24}
    | {"pad_token_id": 1, "prefix": "</s>", "vocab_size": 50272, "word_embed_proj_dim": 512},
    "falcon-7b": _PLAIN
    | {"alibi": False, "apply_residual_connection_post_layernorm": False, "attention_dropout": 0.0, "bias": False}
    | {"auto_map": {"AutoConfig": "configuration_falcon.FalconConfig"}, "hidden_dropout": 0.0, "hidden_size": 4544}
    | {"layer_norm_epsilon": 1e-5, "model_type": "falcon", "multi_query": True, "new_decoder_architecture": False}
    | {"num_attention_heads": 71, "num_hidden_layers": 32, "parallel_attn": True, "vocab_size": 65024},
    "falcon-40b": _PLAIN
    | {"alibi": False, "apply_residual_connection_post_layernorm": False, "attention_dropout": 0.0, "bias": False}
    | {"hidden_dropout": 0.0, "hidden_size": 8192, "layer_norm_epsilon": 1e-5, "model_type": "falcon"}
    | {"new_decoder_architecture": True, "num_attention_heads": 128, "num_hidden_layers": 60, "num_kv_heads": 8}
    | {"parallel_attn": True, "vocab_size": 65024},
    "falcon-11B": _PLAIN
    | {"activation": "gelu", "alibi": False, "attention_dropout": 0.0, "bias": False, "ff_factor": 4}
    | {"ffn_hidden_size": 16384, "hidden_dropout": 0.0, "hidden_size": 4096, "layer_norm_epsilon": 1e-5}
    | {"max_position_embeddings": 8192, "model_type": "falcon", "multi_query": True, "new_decoder_architecture": True}
    | {"num_attention_heads": 32, "num_hidden_layers": 60, "num_kv_heads": 8, "num_ln_in_parallel_attn": 1}
    | {"parallel_attn": True, "rope_scaling": None, "rope_theta": 500042.0, "tie_word_embeddings": False}
    | {"vocab_size": 65024},
}
