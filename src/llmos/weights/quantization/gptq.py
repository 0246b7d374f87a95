"""GPTQ (arXiv:2210.17323) as AutoGPTQ and GPTQModel store it. Reference: GPTQModel 7, `nn_modules/qlinear`.

Of a layer, `qweight` is int32 (in * bits / 32, out), packed along the inputs; `scales` (groups, out); `qzeros` int32 (groups,
out * bits / 32), one less than the zero point in the format `gptq`, itself in `gptq_v2`; `g_idx` int32 (in), the group of each
input, which act-order does not leave in order. Bits and groups are what the tensors' shapes say, so that layers may differ.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmos.core.errors import FormatError, UserError
from llmos.weights.quantization.matrix import Stored
from llmos.weights.quantization.settings import read_settings, refuse_used
from llmos.weights.quantization.words import unpack_columns, unpack_rows
from llmos.weights.tensor import Tensor

__all__ = ["SUFFIXES", "GptqSettings", "read_gptq_settings"]

SUFFIXES = ("qweight", "qzeros", "scales", "g_idx")
_ONES = {4: np.uint32(0x11111111), 8: np.uint32(0x01010101)}
# How and by what it was made; where layers differ (`dynamic`, lists of modules), their tensors show it.
_IGNORED = frozenset(
    {"act_group_aware", "backend", "batch_size", "block_name_to_quantize", "cache_block_outputs", "damp_auto_increment"}
    | {"damp_percent", "dataset", "desc_act", "disable_exllama", "dynamic", "exllama_config", "lm_head"}
    | {
        "max_input_length",
        "meta",
        "model_file_base_name",
        "model_name_or_path",
        "model_seqlen",
        "module_name_preceding_first_block",
    }
    | {
        "modules_in_block_to_quantize",
        "modules_to_not_convert",
        "mse",
        "pad_token_id",
        "static_groups",
        "sym",
        "tokenizer",
    }
    | {"true_sequential", "use_cuda_fp16", "use_exllama", "v2"}
)
_UNUSED = frozenset({"activation", "adapter", "is_marlin_format", "rotation"})


@dataclass(frozen=True, kw_only=True)
class GptqSettings:
    """bits, group_size (-1: a row): of all layers but those that say otherwise; format, checkpoint_format: gptq or gptq_v2."""

    bits: int
    group_size: int | None = None
    quant_method: str = "gptq"
    method: str = "gptq"
    format: str | None = None
    checkpoint_format: str | None = None
    pack_dtype: str = "int32"

    def __post_init__(self):
        formats = {name for name in (self.format, self.checkpoint_format) if name is not None}
        if self.bits not in (4, 8):
            raise UserError(f"bits is {self.bits}; understood: 4 and 8")
        if len(formats) > 1 or not formats <= {"gptq", "gptq_v2"}:
            raise UserError(f"the format is {' and '.join(sorted(formats))}; understood: gptq or gptq_v2")
        if (self.quant_method, self.method, self.pack_dtype) != ("gptq", "gptq", "int32"):
            raise UserError(
                f"method {self.method} packed in {self.pack_dtype} is not supported; understood: gptq in int32"
            )

    @property
    def zero_less_one(self) -> bool:
        return "gptq_v2" not in (self.format, self.checkpoint_format)

    def stored(self, tensors: Mapping[str, Tensor], where: str) -> Stored:
        """The matrix of one layer. tensors: by their suffixes."""
        qweight, scales, qzeros = (tensors[name].data for name in ("qweight", "scales", "qzeros"))
        g_idx = tensors["g_idx"].data if "g_idx" in tensors else None
        columns = len(qweight) * 32 // self.bits if g_idx is None else len(g_idx)
        (groups, rows), bits = scales.shape, _bits(len(qweight), columns, self.bits)
        wanted = {"qweight": (-(-columns * bits // 32), rows), "qzeros": (groups, -(-rows * bits // 32))}
        for name, shape in wanted.items():
            if tensors[name].shape != shape:
                raise FormatError(
                    where, f"{name} has shape {list(tensors[name].shape)}; beside the others it must be {list(shape)}"
                )
        if g_idx is None:
            g_idx = np.arange(columns) // self._group_columns(columns, groups, where)
        if not ((g_idx >= 0) & (g_idx < groups)).all():
            raise FormatError(where, f"g_idx names groups beyond the {groups} that there are")
        return Stored(
            dtype=f"gptq {bits} bits",
            where=where,
            shape=(rows, columns),
            bits=bits,
            zero=2 ** (bits - 1),
            group_of=np.asarray(g_idx),
            codes=lambda start, stop: unpack_rows(qweight[:, start:stop], bits)[:, :columns],
            scales=lambda start, stop: Tensor(tensors["scales"].dtype, scales[:, start:stop]).float32().T,
            zeros=_zeros(qzeros, bits, self.zero_less_one),
        )

    def _group_columns(self, columns: int, groups: int, where: str) -> int:
        """Columns of a group where no g_idx says: those stated, or equally many where a layer has another number of groups."""
        if self.group_size and self.group_size > 0 and -(-columns // self.group_size) == groups:
            return self.group_size
        if not groups or columns % groups:
            raise FormatError(
                where, f"{groups} groups of scales do not fit {columns} columns: damaged, or g_idx is missing"
            )
        return columns // groups


def read_gptq_settings(raw: Mapping[str, Any], where: str) -> GptqSettings:
    """The settings in a quantization_config."""
    refuse_used(raw, _UNUSED, where)
    return read_settings(GptqSettings, raw, where, _IGNORED | _UNUSED)


def _bits(words: int, columns: int, default: int) -> int:
    """Bits of a layer from how many words hold its columns."""
    fitting = [bits for bits in (4, 8) if words == -(-columns * bits // 32)]
    return default if default in fitting or not fitting else fitting[0]


def _zeros(qzeros: np.ndarray, bits: int, less_one: bool) -> Callable[[int, int], np.ndarray]:
    """Reader of rows of zero points (n, groups). One is added to whole words, as GPTQModel does: what it subtracted is undone."""
    each = 32 // bits

    def read(start: int, stop: int) -> np.ndarray:
        first = start // each
        words = np.ascontiguousarray(qzeros[:, first : -(-stop // each)]).view(np.uint32)
        words = words + _ONES[bits] if less_one else words
        return unpack_columns(words, bits)[:, start - first * each : stop - first * each].T.astype(np.int32)

    return read
