"""Tiny random checkpoints, made and saved by transformers: the independent implementation that families are held to."""

from pathlib import Path

import numpy as np
import torch
import transformers as hf
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


# What most configs share: sizes that no vector width divides. Where 32 divides the width of a gated MLP, it is one operation:
# mistral, qwen3, gemma3_text.
_SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 70,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 160,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def decoder(family: str, **changes) -> PreTrainedModel:
    """A model of `family`ForCausalLM."""
    kind = getattr(hf, f"{family}ForCausalLM")
    return _random(kind, kind.config_class(**(_SIZES | changes)))


def llama(**changes) -> PreTrainedModel:
    return decoder("Llama", **({"head_dim": 10} | changes))


def gpt2(**changes) -> PreTrainedModel:
    settings = {
        "vocab_size": 83,
        "n_embd": 36,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 96,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return _random(hf.GPT2LMHeadModel, hf.GPT2Config(**(settings | changes)))


def opt(**changes) -> PreTrainedModel:
    settings = {
        "vocab_size": 83,
        "hidden_size": 36,
        "ffn_dim": 50,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 96,
    }
    return _random(hf.OPTForCausalLM, hf.OPTConfig(**(settings | changes)))


def neox(**changes) -> PreTrainedModel:
    settings = {name: value for name, value in _SIZES.items() if name != "num_key_value_heads"}
    return _random(hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig(**(settings | changes)))


def falcon(**changes) -> PreTrainedModel:
    settings = {"vocab_size": 83, "hidden_size": 60, "num_hidden_layers": 2, "num_attention_heads": 6}
    settings |= {"ffn_hidden_size": 70, "max_position_embeddings": 96, "bos_token_id": 1, "eos_token_id": 2}
    return _random(hf.FalconForCausalLM, hf.FalconConfig(**(settings | changes)))


def gemma3(**changes) -> PreTrainedModel:
    """The model that also sees, with a small tower of vision beside the text model."""
    text = hf.Gemma3TextConfig(**(_SIZES | {"num_hidden_layers": 3, "head_dim": 10} | changes))
    vision = {"hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    config = hf.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    return _random(hf.Gemma3ForConditionalGeneration, config)


def long_rope(pairs: int, original: int, **more) -> dict:
    """LongRoPE with different factors for short and long contexts."""
    short, long = ([step * i + 1.0 for i in range(pairs)] for step in (0.05, 0.7))
    table = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": short, "long_factor": long}
    return {"original_max_position_embeddings": original, "rope_parameters": table | more}


YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 40}
YARN_CUT = YARN | {"truncate": False, "mscale": 0.8, "mscale_all_dim": 0.4, "beta_fast": 20.0, "beta_slow": 2.0}
SLIDING, FULL = "sliding_attention", "full_attention"

CASES = {
    "llama": lambda: llama(),
    "llama, llama3 rope": lambda: llama(rope_parameters=LLAMA3_ROPE),
    "llama, linear rope": lambda: llama(rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}),
    "llama, yarn": lambda: llama(rope_parameters=YARN),
    "llama, yarn with its settings": lambda: llama(rope_parameters=YARN_CUT),
    "llama, tied": lambda: llama(tie_word_embeddings=True),
    "llama, biases": lambda: llama(attention_bias=True, mlp_bias=True),
    "llama, as many kv heads": lambda: llama(num_key_value_heads=6),
    "gpt2": lambda: gpt2(),
    "gpt2, own hidden size": lambda: gpt2(n_inner=50, activation_function="gelu"),
    "opt": lambda: opt(),
    "opt, norms after": lambda: opt(do_layer_norm_before=False, word_embed_proj_dim=20),
    "opt, no biases": lambda: opt(enable_bias=False, activation_function="gelu", tie_word_embeddings=False),
    "opt, no last norm": lambda: opt(_remove_final_layer_norm=True),
    "gpt_neox": lambda: neox(rotary_pct=0.5),
    "gpt_neox, one after the other": lambda: neox(use_parallel_residual=False, rotary_pct=1.0),
    "gpt_neox, no biases": lambda: neox(attention_bias=False, hidden_act="gelu_fast"),
    "mistral": lambda: decoder("Mistral", sliding_window=37, head_dim=10, intermediate_size=64),
    "mistral, narrow window": lambda: decoder("Mistral", sliding_window=5),
    "mistral, no window": lambda: decoder("Mistral", sliding_window=None),
    "mixtral": lambda: decoder("Mixtral", num_local_experts=5, num_experts_per_tok=2),
    "mixtral, window": lambda: decoder("Mixtral", num_local_experts=3, num_experts_per_tok=1, sliding_window=11),
    "qwen2": lambda: decoder("Qwen2"),
    "qwen2, late windows": lambda: decoder(
        "Qwen2", use_sliding_window=True, sliding_window=9, max_window_layers=1, tie_word_embeddings=True
    ),
    "qwen3": lambda: decoder("Qwen3", head_dim=10, intermediate_size=96),
    "qwen3, windows": lambda: decoder(
        "Qwen3", head_dim=10, attention_bias=True, use_sliding_window=True, sliding_window=33, layer_types=[SLIDING, FULL]
    ),
    "qwen3_moe": lambda: decoder(
        "Qwen3Moe", head_dim=10, num_experts=7, num_experts_per_tok=3, moe_intermediate_size=26
    ),
    "qwen3_moe, some dense": lambda: decoder(
        "Qwen3Moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=26, norm_topk_prob=True,
        num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[3],
    ),
    "gemma": lambda: decoder("Gemma", head_dim=10),
    "gemma2": lambda: decoder("Gemma2", head_dim=10, sliding_window=13, query_pre_attn_scalar=21, attn_logit_softcapping=2.0, final_logit_softcapping=3.0),
    "gemma2, no caps": lambda: decoder("Gemma2", head_dim=10, attn_logit_softcapping=None, final_logit_softcapping=None, attention_bias=True),
    "gemma3_text": lambda: decoder("Gemma3", head_dim=10, intermediate_size=64, num_hidden_layers=7, sliding_window=13),
    "gemma3_text, stretched": lambda: decoder(
        "Gemma3", head_dim=10, layer_types=[FULL, SLIDING], sliding_window=40,
        rope_parameters={FULL: {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}, SLIDING: {"rope_type": "default", "rope_theta": 1e4}},
    ),
    "gemma3": lambda: gemma3(layer_types=[FULL, SLIDING, SLIDING], sliding_window=13),
    "phi3": lambda: decoder("Phi3", sliding_window=21),
    "phi3, long rope": lambda: decoder("Phi3", **long_rope(4, 160)),
    "phi3, part of a head turns": lambda: decoder(
        "Phi3", num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True, **long_rope(6, 200, partial_rotary_factor=0.75)
    ),
    "olmo2": lambda: decoder("Olmo2"),
    "olmo2, biases": lambda: decoder("Olmo2", attention_bias=True, num_key_value_heads=6),
    "granite": lambda: decoder(
        "Granite", embedding_multiplier=12.0, logits_scaling=16.0, residual_multiplier=0.22,
        attention_multiplier=0.0078125, tie_word_embeddings=True,
    ),
    "granite, biases": lambda: decoder("Granite", attention_bias=True, mlp_bias=True, residual_multiplier=1.5),
    "starcoder2": lambda: decoder("Starcoder2", sliding_window=19),
    "starcoder2, no biases": lambda: decoder("Starcoder2", use_bias=False, tie_word_embeddings=False),
    "stablelm": lambda: decoder("StableLm", use_qkv_bias=True, partial_rotary_factor=0.5),
    "stablelm, parallel": lambda: decoder("StableLm", use_parallel_residual=True, qk_layernorm=True),
    "falcon": lambda: falcon(),
    "falcon, grouped": lambda: falcon(new_decoder_architecture=True, num_kv_heads=2, bias=True),
    "falcon, one norm": lambda: falcon(
        new_decoder_architecture=True, num_kv_heads=3, num_ln_in_parallel_attn=1, tie_word_embeddings=False
    ),
    "falcon, one after the other": lambda: falcon(multi_query=False, parallel_attn=False, bias=True),
}  # fmt: skip


def save(model: PreTrainedModel, folder: Path, **settings) -> Path:
    model.save_pretrained(folder, **settings)
    return folder


def logits(model: PreTrainedModel, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def change_matrices(model: PreTrainedModel, change) -> None:
    """Replace the matrices of products and the table of tokens: each by change(w), w (outputs, inputs) float32."""
    for module in model.modules():
        turned = isinstance(module, Conv1D)
        if turned or isinstance(module, torch.nn.Linear) or module is model.get_input_embeddings():
            w = module.weight.detach().numpy()
            changed = torch.from_numpy(np.ascontiguousarray(change(w.T if turned else w)))
            with torch.no_grad():
                module.weight.copy_(changed.T if turned else changed)


def _random(kind, config) -> PreTrainedModel:
    torch.manual_seed(0)
    config._experts_implementation = "eager"  # the grouped products know no float64
    model = kind(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.05, 0.25)
    return model
