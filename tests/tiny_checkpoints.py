"""Tiny random checkpoints, made and saved by transformers: the independent implementation that families are held to."""

from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def llama(**changes) -> PreTrainedModel:
    settings = {
        "vocab_size": 97,
        "hidden_size": 48,
        "intermediate_size": 70,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 10,
        "max_position_embeddings": 160,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return _random(LlamaForCausalLM, LlamaConfig(**(settings | changes)))


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
    return _random(GPT2LMHeadModel, GPT2Config(**(settings | changes)))


CASES = {
    "llama": lambda: llama(),
    "llama, llama3 rope": lambda: llama(rope_parameters=LLAMA3_ROPE),
    "llama, linear rope": lambda: llama(rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}),
    "llama, tied": lambda: llama(tie_word_embeddings=True),
    "llama, biases": lambda: llama(attention_bias=True, mlp_bias=True),
    "llama, as many kv heads": lambda: llama(num_key_value_heads=6),
    "gpt2": lambda: gpt2(),
    "gpt2, own hidden size": lambda: gpt2(n_inner=50, activation_function="gelu"),
}


def save(model: PreTrainedModel, folder: Path, **settings) -> Path:
    model.save_pretrained(folder, **settings)
    return folder


def logits(model: PreTrainedModel, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def _random(kind, config) -> PreTrainedModel:
    torch.manual_seed(0)
    model = kind(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.05, 0.25)
    return model
