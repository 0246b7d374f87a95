"""GGUF files for tests, written by the `gguf` package, which is independent of LLMOS."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

Quantised = tuple[np.ndarray, gguf.GGMLQuantizationType]  # rows of block bytes, and their type

KINDS = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL")
PLAIN = ("F32", "F16", "BF16")

# Where the float16 scales of a block lie, and the largest that keeps a random block's values near 1.
_SCALES = {
    "Q8_0": ((0,), 0.004),
    "Q4_0": ((0,), 0.06),
    "Q4_1": ((0, 2), 0.06),
    "Q5_0": ((0,), 0.03),
    "Q5_1": ((0, 2), 0.03),
    "Q2_K": ((80, 82), 0.02),
    "Q3_K": ((108,), 0.004),
    "Q4_K": ((0, 2), 0.001),
    "Q5_K": ((0, 2), 0.0005),
    "Q6_K": ((208,), 0.0002),
    "IQ4_NL": ((0,), 0.004),
}


def random_rows(kind: str, rows: int, columns: int, seed: int = 0) -> Quantised:
    """Random blocks of a type whose values are of moderate size."""
    rng, type = np.random.default_rng(seed), gguf.GGMLQuantizationType[kind]
    values, n_bytes = gguf.GGML_QUANT_SIZES[type]
    assert columns % values == 0, f"{columns} columns are no blocks of {values}"
    blocks = rng.integers(0, 256, (rows * columns // values, n_bytes), dtype=np.uint8)
    places, largest = _SCALES[kind]
    for place in places:
        scales = (rng.uniform(-1, 1, len(blocks)) * largest).astype(np.float16)
        blocks[:, place : place + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1), type


def dequantised(stored: Quantised) -> np.ndarray:
    """float32 (N, K), by the package."""
    with np.errstate(all="ignore"):
        return gguf.dequantize(*stored)


def plain(kind: str, values: np.ndarray) -> Quantised:
    """Numbers as F32, F16 or BF16."""
    type = gguf.GGMLQuantizationType[kind]
    return gguf.quantize(np.ascontiguousarray(values, np.float32), type), type


def write(path: Path, arch: str, metadata: Mapping[str, Any], tensors: Mapping[str, Quantised], **settings) -> Path:
    """A GGUF file. metadata: key -> number, truth value, text or list; lists of floats become float32."""
    writer = gguf.GGUFWriter(path, arch, **settings)
    for key, value in metadata.items():
        _add(writer, key, value)
    for name, (data, type) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, bytes):
        writer.add_array(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, list(value))
