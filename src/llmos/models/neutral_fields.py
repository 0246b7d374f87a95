"""Fields of a config.json that no family's mathematics depends on: names, token ids, bookkeeping of transformers."""

__all__ = ["NEUTRAL"]

NEUTRAL = frozenset(
    # token ids and labels
    {"bos_token_id", "eos_token_id", "pad_token_id", "id2label", "label2id", "tokenizer_class"}
    # names and versions; auto_map names code of the checkpoint's author, which is never run
    | {"_name_or_path", "architectures", "auto_map", "dtype", "model_type", "torch_dtype", "transformers_version"}
    | {"transformers.js_config", "unsloth_fixed", "unsloth_version"}
    # what transformers returns and keeps, and how it computes the same
    | {
        "_attn_implementation",
        "_attn_implementation_autoset",
        "cache_implementation",
        "chunk_size_feed_forward",
        "use_cache",
    }
    | {"output_attentions", "output_hidden_states", "return_dict"}
    # tasks
    | {"is_decoder", "is_encoder_decoder", "problem_type", "task_specific_params"}
)
