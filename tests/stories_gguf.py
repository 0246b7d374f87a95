"""stories260K as a GGUF file, with its tokenizer: real weights in the types whose blocks fit its rows."""

import struct
from pathlib import Path

import gguf
import numpy as np

from llmos.weights import Llama2cFile
from tests.gguf_files import PLAIN, plain, write

_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


def write_stories(path: Path, weights: Path, kind: str = "F32") -> Path:
    """weights: the folder of stories260K.bin and tok512.bin. Rows that blocks do not fill stay F16, as llama.cpp does it."""
    file = Llama2cFile(weights / "stories260K.bin")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, file.config["num_hidden_layers"])
    tensors = {}
    for name in file.names():
        base, _, last = name.rpartition(".")
        values = _paired(name, np.array(file.tensor(name).data), file.config)
        stored = "F32" if values.ndim == 1 else kind
        if stored not in PLAIN and values.shape[1] % 32:
            stored = "F16"
        type = gguf.GGMLQuantizationType[stored]
        tensors[f"{names.get_name(base)}.{last}"] = (
            plain(stored, values) if stored in PLAIN else (gguf.quantize(values, type), type)
        )
    return write(path, "llama", _sizes(file.config) | _vocabulary(weights / "tok512.bin"), tensors)


def _paired(name: str, values: np.ndarray, config: dict) -> np.ndarray:
    """The inverse of what the reader of llama2.c files did to queries and keys."""
    counts = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    heads = next((count for part, count in counts.items() if f".{part}." in name), 0)
    return values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape) if heads else values


def _sizes(c: dict) -> dict:
    head_dim = c["hidden_size"] // c["num_attention_heads"]
    return {
        "llama.context_length": c["max_position_embeddings"],
        "llama.embedding_length": c["hidden_size"],
        "llama.block_count": c["num_hidden_layers"],
        "llama.feed_forward_length": c["intermediate_size"],
        "llama.rope.dimension_count": head_dim,
        "llama.attention.head_count": c["num_attention_heads"],
        "llama.attention.head_count_kv": c["num_key_value_heads"],
        "llama.attention.layer_norm_rms_epsilon": c["rms_norm_eps"],
        "llama.rope.freq_base": c["rope_theta"],
    }


def _vocabulary(path: Path) -> dict:
    raw, at, tokens, scores = path.read_bytes(), 4, [], []
    while at < len(raw):
        score, length = struct.unpack_from("<fi", raw, at)
        tokens.append(raw[at + 8 : at + 8 + length].decode("utf-8", "replace").replace(" ", "▁"))
        scores.append(score)
        at += 8 + length
    tokens[:3] = ["<unk>", "<s>", "</s>"]
    tokens[3:259] = [f"<0x{byte:02X}>" for byte in range(256)]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL] + [_BYTE] * 256 + [_NORMAL] * (len(tokens) - 259)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
