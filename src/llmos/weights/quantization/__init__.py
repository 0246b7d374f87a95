"""Checkpoints whose matrices are stored as small integers: GPTQ, AWQ and compressed-tensors, read as `QuantizedTensor`."""

from llmos.weights.quantization.checkpoint import QuantizedCheckpoint, open_quantized

__all__ = ["QuantizedCheckpoint", "open_quantized"]
