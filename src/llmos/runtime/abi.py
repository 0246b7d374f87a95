"""The step ABI for ctypes: a mirror of native/include/llmos/step.h. A test compares sizes and offsets with the header."""

import ctypes
from ctypes import POINTER, Structure, c_float, c_int32, c_int64, c_uint8, c_uint32, c_uint64, c_void_p

from llmos.core.errors import UserError

__all__ = [
    "ABI_VERSION",
    "BAD_NUMBER",
    "FORMATS",
    "NONE_ALLOWED",
    "NO_TOKEN",
    "PAGE_TOKENS",
    "STATUS",
    "Model",
    "Sampling",
    "Sources",
    "Step",
    "address",
    "load_library",
]

ABI_VERSION = 1
PAGE_TOKENS = 32
NO_TOKEN = -1
NONE_ALLOWED = -2
BAD_NUMBER = 7
FORMATS = {"float32": 0, "bf16": 1, "int8": 2, "float16": 3, "int4": 4, "uint4": 5}
STATUS = {
    1: "the library was built for another version of the step ABI",
    2: "a token id is outside the vocabulary",
    3: "a position is outside the context, has no page, or belongs to a sequence that is not whole",
    4: "a page number is outside the pool",
    5: "the batch has counts or rows that do not fit",
    6: "a feature or format was asked for that this code was not compiled with",
    7: "a weight is infinite, NaN or too large for the format",
}


class Sampling(Structure):
    """LlmosSampling."""

    _fields_ = [
        ("temperature", c_float),
        ("top_p", c_float),
        ("min_p", c_float),
        ("repetition_penalty", c_float),
        ("presence_penalty", c_float),
        ("frequency_penalty", c_float),
        ("top_k", c_int32),
        ("n_history", c_int32),
        ("n_prompt", c_int32),
        ("n_bias", c_int32),
        ("seed", c_uint64),
        ("counter", c_uint64),
        ("history", c_void_p),
        ("bias_ids", c_void_p),
        ("bias_values", c_void_p),
    ]


class Model(Structure):
    """LlmosModel."""

    _fields_ = [
        ("abi_version", c_uint32),
        ("struct_bytes", c_uint32),
        ("weights", c_void_p),
        ("weights_bytes", c_uint64),
        ("kv", c_void_p),
        ("n_pages", c_int32),
        ("context", c_int32),
        ("rope", c_void_p),
        ("workspace", c_void_p),
        ("max_tokens", c_int32),
        ("max_outputs", c_int32),
        ("pool", c_void_p),
    ]


class Sources(Structure):
    """LlmosSources."""

    _fields_ = [
        ("struct_bytes", c_uint32),
        ("max_pages", c_int32),
        ("block_table", c_void_p),
        ("lengths", c_void_p),
    ]


class Step(Structure):
    """LlmosStep."""

    _fields_ = [
        ("abi_version", c_uint32),
        ("struct_bytes", c_uint32),
        ("n_tokens", c_int32),
        ("n_sequences", c_int32),
        ("max_pages", c_int32),
        ("n_outputs", c_int32),
        ("token_ids", c_void_p),
        ("positions", c_void_p),
        ("sequence", c_void_p),
        ("block_table", c_void_p),
        ("output_rows", c_void_p),
        ("logits", c_void_p),
        ("sampling", POINTER(Sampling)),
        ("sampling_bytes", c_uint32),
        ("n_top", c_int32),
        ("sampled", c_void_p),
        ("sampled_logprob", c_void_p),
        ("top_ids", c_void_p),
        ("top_logprobs", c_void_p),
        ("score_ids", c_void_p),
        ("score_logprobs", c_void_p),
        ("logit_mask", c_void_p),
        ("adapters", c_void_p),
        ("collectives", c_void_p),
        ("sources", POINTER(Sources)),
        ("hidden", c_void_p),
    ]


def load_library(path: str) -> ctypes.CDLL:
    """A compiled model's library with its functions declared. Raises UserError where the system does not load it."""
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise UserError(
            f"compiled code cannot be loaded: {error}; where its folder may not hold programs (mounted noexec), set "
            f"LLMOS_CACHE to one that may"
        ) from error
    library.llmos_abi_version.restype = c_uint32
    library.llmos_weights_bytes.restype = c_uint64
    library.llmos_page_bytes.restype = c_uint64
    library.llmos_workspace_bytes.restype = c_uint64
    library.llmos_workspace_bytes.argtypes = [c_int32, c_int32]
    library.llmos_pool_create.restype = c_void_p
    library.llmos_pool_create.argtypes = [c_int32]
    library.llmos_pool_destroy.argtypes = [c_void_p]
    library.llmos_pool_destroy.restype = None
    library.llmos_step.restype = c_int32
    library.llmos_step.argtypes = [POINTER(Model), POINTER(Step)]
    if hasattr(library, "llmos_encode"):
        library.llmos_encode.restype = c_int32
        library.llmos_encode.argtypes = [POINTER(Model), POINTER(Step)]
    library.llmos_pack.restype = c_int32
    library.llmos_pack.argtypes = [c_int32, c_int32, c_int64, c_int64, c_void_p, c_void_p]
    library.llmos_pack_groups.restype = c_int32
    library.llmos_pack_groups.argtypes = [c_int32, c_int64, c_int64, c_void_p, c_void_p, c_void_p, c_void_p]
    library.llmos_checksum.restype = c_uint64
    library.llmos_checksum.argtypes = [c_void_p, c_int64]
    return library


def address(buffer) -> int:
    """Where a writable buffer (mmap, bytearray) starts."""
    return ctypes.addressof((c_uint8 * 0).from_buffer(buffer))
