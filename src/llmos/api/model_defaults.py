"""What a model's generation_config.json asks for: the defaults that are taken from it, and what LLMOS does not do.

The names are those of transformers' GenerationConfig (5.23, with those of 4 that files still carry). None is unset for each.
None of them changes the forward pass, so what is not done is named in a warning and the model runs; a field of config.json
would be refused.
"""

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["TAKEN", "defaults_of", "left_undone", "unapplied"]

# Setting -> its name in the file.
TAKEN = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "min_tokens": "min_new_tokens",
}

# Read elsewhere, or of no consequence for what one call to one decoder answers, whatever the value.
_NO_MATTER = {
    "do_sample",  # see `defaults_of`
    "eos_token_id",  # the stop ids of the prompt format
    # A default of ours that is documented: how long an answer may be is the caller's affair, and files state 20 or a context.
    *("max_length", "max_new_tokens"),
    *("bos_token_id", "pad_token_id", "decoder_start_token_id"),  # for empty prompts, rectangular batches, encoders
    # Of beams alone, which are named by num_beams.
    *("early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty", "low_memory"),
    # How it is computed and what is given back, not what is said.
    *(
        "_from_model_config",
        "transformers_version",
        "return_dict_in_generate",
        "renormalize_logits",
        "remove_invalid_values",
    ),
    *(
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "output_scores",
        "disable_compile",
        "compile_config",
    ),
    *("use_cache", "cache_config", "cache_implementation", "max_cache_len", "prefill_chunk_size"),
    "continuous_batching_config",
    # Speculation, which keeps the distribution.
    *("assistant_confidence_threshold", "assistant_early_exit", "assistant_ensemble_weight", "assistant_lookbehind"),
    *("is_assistant", "max_matching_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule"),
    *("prompt_lookup_num_tokens", "speculation_type", "target_lookbehind", "use_mtp"),
}

# Field -> the values at which it asks for nothing. What has none is asked for by any value but None.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "bad_words_ids": ([],),
    "begin_suppress_tokens": ([],),
    "constraints": ([],),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "force_words_ids": ([],),
    "guidance_scale": (1,),
    "min_length": (0,),
    "no_repeat_ngram_size": (0,),
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "penalty_alpha": (0,),
    "sequence_bias": ([], {}),
    "stop_strings": ([],),
    "suppress_tokens": ([],),
    "token_healing": (False,),
    "typical_p": (1,),
}


_OF_A_DRAW = ("temperature", "top_p", "top_k", "min_p")


def defaults_of(generation: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that the file states. `do_sample: false` is greedy, whatever temperature stands beside it, as in transformers.

    Where do_sample is absent, what is stated holds and LLMOS's own defaults fill the rest; transformers would be greedy.
    """
    stated = {name: generation[key] for name, key in TAKEN.items() if generation.get(key) is not None}
    if generation.get("do_sample") is not False:
        return stated
    return {name: value for name, value in stated.items() if name not in _OF_A_DRAW} | {"temperature": 0.0}


def unapplied(generation: Mapping[str, Any]) -> list[str]:
    """`name=value` for everything that the file asks for and LLMOS does not do, unknown names included."""
    known = _NO_MATTER | set(TAKEN.values())
    asked = {name: value for name, value in generation.items() if name not in known and value is not None}
    return [f"{name}={reprlib.repr(value)}" for name, value in asked.items() if value not in _NEUTRAL.get(name, ())]


def left_undone(name: str, generation: Mapping[str, Any], of_tokenizer: Iterable[str]) -> Iterator[str]:
    """One sentence for each file beside the weights that asks for something that is not done."""
    asked = {"generation_config.json": unapplied(generation), "tokenizer_config.json": of_tokenizer}
    for file, fields in asked.items():
        if fields:
            yield f"{name}: {file} asks for {', '.join(fields)}, which LLMOS does not do yet"
