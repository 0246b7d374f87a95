"""Checkpoints in (safetensors, GGUF, llama2.c) and packed matrices out. Reads by mmap; never unpickles."""

from llmos.weights.checkpoint import Checkpoint, holds_weights, open_checkpoint
from llmos.weights.gguf import GgufFile, gguf_parts
from llmos.weights.llama2c import Llama2cFile
from llmos.weights.pack import (
    BLOCK_ROWS,
    PackRows,
    Piece,
    Rows,
    pack,
    pack_into,
    packed_bytes,
    pieces,
    unpack,
    unpack_groups,
)
from llmos.weights.parameters import Parameters
from llmos.weights.quantize import quantize
from llmos.weights.quantized import Groups, QuantizedTensor, widened
from llmos.weights.safetensors import SafetensorsFile
from llmos.weights.stacks import Stacks
from llmos.weights.tensor import Tensor, bf16_to_float32, float32_to_bf16

__all__ = [
    "BLOCK_ROWS",
    "Checkpoint",
    "GgufFile",
    "Groups",
    "Llama2cFile",
    "PackRows",
    "Parameters",
    "Piece",
    "QuantizedTensor",
    "Rows",
    "SafetensorsFile",
    "Stacks",
    "Tensor",
    "bf16_to_float32",
    "float32_to_bf16",
    "gguf_parts",
    "holds_weights",
    "open_checkpoint",
    "pack",
    "pack_into",
    "packed_bytes",
    "pieces",
    "quantize",
    "unpack",
    "unpack_groups",
    "widened",
]
