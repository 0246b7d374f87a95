"""Checkpoints in (safetensors, GGUF, llama2.c) and packed matrices out. Reads by mmap; never unpickles."""

from llmos.weights.checkpoint import Checkpoint, holds_weights, open_checkpoint
from llmos.weights.gguf import GgufFile, gguf_parts
from llmos.weights.llama2c import Llama2cFile
from llmos.weights.pack import pack, pack_into, packed_bytes, unpack
from llmos.weights.parameters import Parameters
from llmos.weights.quantized import QuantizedTensor
from llmos.weights.safetensors import SafetensorsFile
from llmos.weights.tensor import Tensor, bf16_to_float32, float32_to_bf16

__all__ = [
    "Checkpoint",
    "GgufFile",
    "Llama2cFile",
    "Parameters",
    "QuantizedTensor",
    "SafetensorsFile",
    "Tensor",
    "bf16_to_float32",
    "float32_to_bf16",
    "gguf_parts",
    "holds_weights",
    "open_checkpoint",
    "pack",
    "pack_into",
    "packed_bytes",
    "unpack",
]
