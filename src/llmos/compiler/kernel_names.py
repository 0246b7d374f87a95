"""What C++ calls formats and kernels."""

from llmos.compiler.formats import ACTIVATIONS

__all__ = ["ACT", "CTYPE", "FORMAT", "KV", "LINEAR", "QUANTIZE", "flag", "kernel_names", "rows_of"]

KV = {"float32": "Kv::kF32", "float16": "Kv::kF16", "bf16": "Kv::kBf16", "int8": "Kv::kI8"}
FORMAT = {
    "float32": "Format::kF32",
    "float16": "Format::kF16",
    "bf16": "Format::kBf16",
    "int8": "Format::kI8",
    "int4": "Format::kI4",
    "uint4": "Format::kU4",
}
LINEAR = {
    "float32": "LinearF32",
    "float16": "LinearF16",
    "bf16": "LinearBf16",
    "int8": "LinearI8",
    "int4": "LinearI4",
    "uint4": "LinearU4",
}
ACT = {"silu": "Act::kSilu", "gelu": "Act::kGelu", "gelu_tanh": "Act::kGeluTanh", "relu": "Act::kRelu"}
QUANTIZE = {"bf16": "QuantBf16", "int8": "QuantI8", "int8pow2": "QuantPow2"}
ROWS = {"float32": "FloatRows", "bf16": "Bf16Rows", "int8": "I8Rows", "int8pow2": "Pow2Rows"}
CTYPE = {"float32": "float", "bf16": "uint16_t", "int8": "I8Group", "int8pow2": "Pow2Group"}


def kernel_names(weights: str, kv: str) -> dict[str, str]:
    """What C++ calls the parts of two formats: the kernel of products, the type of its activations, stored keys and values."""
    return {"LINEAR": LINEAR[weights], "ACTIVATION": CTYPE[ACTIVATIONS[weights]], "KV_FORMAT": KV[kv]}


def rows_of(dtype: str, pointer: str, apart: int) -> str:
    """Rows that a kernel writes. apart: floats from row to row, or bytes where they are no floats."""
    return f"{ROWS[dtype]}{{({CTYPE[dtype]}*){pointer}, {apart}}}"


def flag(value: bool) -> str:
    return str(value).lower()
