"""AWQ (arXiv:2306.00978) in the layout of its GEMM kernels. Reference: AutoAWQ 0.2, `modules/linear/gemm.py`, `utils/packing_utils.py`.

Of a layer, `qweight` is int32 (in, out / 8), packed along the outputs with eight neighbours in the order 0 2 4 6 1 3 5 7; `qzeros`
int32 (groups, out / 8), packed alike; `scales` (groups, out). Groups follow one another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmos.core.errors import FormatError, UserError
from llmos.weights.quantization.matrix import Rows, Stored
from llmos.weights.quantization.settings import read_settings, refuse_used
from llmos.weights.quantization.words import unpack_columns
from llmos.weights.tensor import Tensor

__all__ = ["SUFFIXES", "AwqSettings", "read_awq_settings"]

SUFFIXES = ("qweight", "qzeros", "scales")
_PLACES = np.array([0, 4, 1, 5, 2, 6, 3, 7])  # of eight neighbours, where in a word each one lies
_IGNORED = frozenset(
    {"backend", "do_fuse", "exllama_config", "fuse_max_seq_len", "group_size", "lm_head", "meta", "modules_to_fuse"}
    | {
        "modules_to_not_convert",
        "q_group_size",
        "damp_percent",
        "dataset",
        "sym",
        "tokenizer",
        "true_sequential",
        "dynamic",
    }
    | {
        "act_group_aware",
        "batch_size",
        "block_name_to_quantize",
        "cache_block_outputs",
        "max_input_length",
        "model_seqlen",
    }
    | {"module_name_preceding_first_block", "modules_in_block_to_quantize", "pad_token_id", "static_groups"}
)
_UNUSED = frozenset({"activation", "adapter", "desc_act", "rotation"})


@dataclass(frozen=True, kw_only=True)
class AwqSettings:
    """zero_point: layers have zero points of their own; without, it is 8."""

    bits: int = 4
    w_bit: int | None = None
    quant_method: str = "awq"
    method: str = "awq"
    zero_point: bool = True
    version: str | None = None
    format: str | None = None
    checkpoint_format: str | None = None
    pack_dtype: str = "int32"

    def __post_init__(self):
        formats = {name.lower() for name in (self.version, self.format, self.checkpoint_format) if name is not None}
        if (self.w_bit or self.bits) != 4:
            raise UserError(f"bits is {self.w_bit or self.bits}; understood: 4")
        if not formats <= {"gemm"}:
            raise UserError(f"the version is {' and '.join(sorted(formats))}; understood: gemm")
        if (self.quant_method, self.method, self.pack_dtype) != ("awq", "awq", "int32"):
            raise UserError(
                f"method {self.method} packed in {self.pack_dtype} is not supported; understood: awq in int32"
            )

    def stored(self, tensors: Mapping[str, Tensor], where: str) -> Stored:
        """The matrix of one layer. tensors: by their suffixes."""
        qweight, scales = tensors["qweight"].data, tensors["scales"]
        columns, (groups, rows) = len(qweight), scales.shape
        wanted = {"qweight": (columns, rows // 8), "qzeros": (groups, rows // 8)}
        for name, shape in wanted.items():
            if name in tensors and tensors[name].shape != shape:
                raise FormatError(
                    where, f"{name} has shape {list(tensors[name].shape)}; beside the others it must be {list(shape)}"
                )
        if rows % 8 or columns % groups:
            raise FormatError(where, f"{groups} groups of scales do not fit a matrix of {rows} x {columns}")
        if self.zero_point and "qzeros" not in tensors:
            raise FormatError(where, "has no qzeros, which zero_point asks for")
        return Stored(
            dtype="awq 4 bits",
            where=where,
            shape=(rows, columns),
            bits=4,
            zero=8,
            group_of=np.arange(columns) // (columns // groups),
            codes=_reader(qweight),
            scales=lambda start, stop: Tensor(scales.dtype, scales.data[:, start:stop]).float32().T,
            zeros=_reader(tensors["qzeros"].data) if "qzeros" in tensors else None,
        )


def read_awq_settings(raw: Mapping[str, Any], where: str) -> AwqSettings:
    """The settings in a quantization_config."""
    refuse_used(raw, _UNUSED, where)
    return read_settings(AwqSettings, raw, where, _IGNORED | _UNUSED)


def _reader(words: np.ndarray) -> Rows:
    """Reader of outputs start .. stop as rows (n, m) of words (m, out / 8)."""

    def read(start: int, stop: int) -> np.ndarray:
        first, last = start // 8, -(-stop // 8)
        codes = unpack_columns(words[:, first:last], 4).reshape(len(words), -1, 8)[:, :, _PLACES]
        return np.ascontiguousarray(codes.reshape(len(words), -1)[:, start - first * 8 : stop - first * 8].T)

    return read
