"""Random checkpoints with the shapes of known models, as Hugging Face folders of the llama family and as GGUF files.

A is Qwen2.5-0.5B without its biases, B is TinyLlama-1.1B. The values do not matter to speed; that all sides read the same ones
keeps the comparison plain. Standard library and numpy: the interpreters of peers import this too.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["SHAPES", "A", "B", "read_folder", "tensors", "write_folder", "write_gguf"]

A = {
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
    "bos_token_id": 1,
    "eos_token_id": 2,
}
B = A | {
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "tie_word_embeddings": False,
}
SHAPES = {"A": A, "B": B}


def tensors(config: dict[str, Any] = A) -> dict[str, tuple[int, ...]]:
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
    out["model.norm.weight"] = (width,)
    return out if config["tie_word_embeddings"] else out | {"lm_head.weight": (config["vocab_size"], width)}


def values(config: dict[str, Any] = A) -> Iterator[tuple[str, np.ndarray]]:
    """(name, bfloat16 bits) of every tensor; norms are ones, matrices normal with deviation 0.02."""
    random = np.random.default_rng(0)
    for name, shape in tensors(config).items():
        if len(shape) == 1:
            yield name, np.full(shape, 0x3F80, np.uint16)
        else:
            bits = (random.standard_normal(shape, np.float32) * np.float32(0.02)).view(np.uint32) >> 16
            yield name, bits.astype(np.uint16)


def write_folder(folder: Path, config: dict[str, Any] = A) -> Path:
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
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}  # OpenVINO's converter wants some
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"} | special))


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
_TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def write_gguf(path: Path, folder: Path) -> Path:
    """A folder with bf16 weights as a GGUF file without vocabulary, for llama.cpp's quantiser. Needs the package gguf."""
    import gguf

    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for name, bits in read_folder(folder):
        if bits.ndim == 1:
            writer.add_tensor(_gguf_name(name), (bits.astype(np.uint32) << 16).view(np.float32))
        else:
            stored = _turned(name, bits, config["head_dim"]).view(np.uint8)
            writer.add_tensor(_gguf_name(name), stored, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def read_folder(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(name, bfloat16 bits) of every tensor of a folder with one file of them."""
    path = folder / "model.safetensors"
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    data = np.memmap(path, np.uint16, "r", offset=8 + length)
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["dtype"] == "BF16", f"{name} is {entry['dtype']}"
            begin, end = (at // 2 for at in entry["data_offsets"])
            yield name, data[begin:end].reshape(entry["shape"])


def _turned(name: str, bits: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of queries and keys with the two that rope turns together as neighbours, as llama.cpp's converter stores them."""
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return bits
    of_heads = bits.reshape(-1, 2, head_dim // 2, bits.shape[1])
    return np.ascontiguousarray(of_heads.swapaxes(1, 2)).reshape(bits.shape)


def _gguf_name(name: str) -> str:
    if name in _TOP:
        return _TOP[name]
    _, _, layer, *rest = name.removesuffix(".weight").split(".")
    return f"blk.{layer}.{_GGUF['.'.join(rest)]}.weight"
