"""Random checkpoints with the shape of Qwen2.5-0.5B, as a Hugging Face folder of the llama family and as GGUF files.

The values do not matter to speed; that both sides read the same ones keeps the comparison plain.
"""

import argparse
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["CONFIG", "tensors", "write_folder", "write_gguf"]

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


def tensors(config: dict[str, Any] = CONFIG) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the checkpoint."""
    width, hidden = config["hidden_size"], config["intermediate_size"]
    heads, kv = (config[name] * config["head_dim"] for name in ("num_attention_heads", "num_key_value_heads"))
    out = {"model.embed_tokens.weight": (config["vocab_size"], width)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        out |= {
            layer + "input_layernorm.weight": (width,),
            layer + "self_attn.q_proj.weight": (heads, width),
            layer + "self_attn.k_proj.weight": (kv, width),
            layer + "self_attn.v_proj.weight": (kv, width),
            layer + "self_attn.o_proj.weight": (width, heads),
            layer + "post_attention_layernorm.weight": (width,),
            layer + "mlp.gate_proj.weight": (hidden, width),
            layer + "mlp.up_proj.weight": (hidden, width),
            layer + "mlp.down_proj.weight": (width, hidden),
        }
    return out | {"model.norm.weight": (width,)}


def values(config: dict[str, Any] = CONFIG) -> Iterator[tuple[str, np.ndarray]]:
    """(name, bfloat16 bits) of every tensor; norms are ones, matrices normal with deviation 0.02."""
    random = np.random.default_rng(0)
    for name, shape in tensors(config).items():
        if len(shape) == 1:
            yield name, np.full(shape, 0x3F80, np.uint16)
        else:
            bits = (random.standard_normal(shape, np.float32) * np.float32(0.02)).view(np.uint32) >> 16
            yield name, bits.astype(np.uint16)


def write_folder(folder: Path, config: dict[str, Any] = CONFIG) -> Path:
    """A Hugging Face folder with bf16 safetensors and a tokenizer of meaningless words."""
    folder.mkdir(parents=True, exist_ok=True)
    header, at = {}, 0
    for name, shape in tensors(config).items():
        end = at + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, bits in values(config):
            file.write(bits.tobytes())
    _write_tokenizer(folder, config["vocab_size"])
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder


def _write_tokenizer(folder: Path, vocab: int) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words += [f"word{i}" for i in range(vocab - len(words))]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


_GGUF = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_TOP = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}


def write_gguf(path: Path, weights: str) -> Path:
    """A GGUF file without vocabulary. weights: bf16 or int8 (Q8_0). Needs the package gguf."""
    import gguf

    kind = gguf.GGMLQuantizationType.BF16 if weights == "bf16" else gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(CONFIG["num_hidden_layers"])
    writer.add_context_length(CONFIG["max_position_embeddings"])
    writer.add_embedding_length(CONFIG["hidden_size"])
    writer.add_feed_forward_length(CONFIG["intermediate_size"])
    writer.add_head_count(CONFIG["num_attention_heads"])
    writer.add_head_count_kv(CONFIG["num_key_value_heads"])
    writer.add_rope_dimension_count(CONFIG["head_dim"])
    writer.add_rope_freq_base(CONFIG["rope_theta"])
    writer.add_layer_norm_rms_eps(CONFIG["rms_norm_eps"])
    writer.add_vocab_size(CONFIG["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    for name, bits in values():
        floats = (bits.astype(np.uint32) << 16).view(np.float32)
        if bits.ndim == 1:
            writer.add_tensor(_gguf_name(name), floats)
        else:
            writer.add_tensor(_gguf_name(name), gguf.quants.quantize(floats, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str:
    if name in _TOP:
        return _TOP[name]
    _, _, layer, *rest = name.removesuffix(".weight").split(".")
    return f"blk.{layer}.{_GGUF['.'.join(rest)]}.weight"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--gguf", choices=["bf16", "int8"])
    options = parser.parse_args()
    made = write_gguf(options.out, options.gguf) if options.gguf else write_folder(options.out)
    print(made, file=sys.stderr)
