"""The number formats of weights and of stored keys and values, and what weights are multiplied with."""

__all__ = ["ACTIVATIONS", "EIGHT_BITS", "FORMATS", "KV_FORMATS"]

ACTIVATIONS = {  # weight format -> format of the activations that its kernel takes; pow2: scales that are powers of two
    "float32": "float32",
    "float16": "float32",
    "bf16": "bf16",
    "int8": "int8",
    "int4": "int8pow2",
    "uint4": "int8",
}
FORMATS = tuple(ACTIVATIONS)
EIGHT_BITS = ("int8", "int8pow2")  # of activations: groups of 32 codes
KV_FORMATS = ("float32", "float16", "bf16", "int8")
