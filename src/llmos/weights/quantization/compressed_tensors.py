"""Weights of 4 and 8 bits as `compressed-tensors` stores them. Reference: compressed-tensors 0.20, `compressors/pack_quantized`.

Of a layer, `weight_packed` is int32 (out, in * bits / 32), a row's neighbours in a word, code = value + 2**(bits - 1); `weight_scale`
(out, groups), (out, 1) or one for all; `weight_zero_point` int32, packed along the outputs, or int8 as it is; `weight_shape` the two
sizes; `weight_g_idx` the group of each input. In the formats `naive-quantized` and `int-quantized` `weight` itself is int8.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmos.core.errors import FormatError, UserError
from llmos.weights.quantization.matrix import Rows, Stored
from llmos.weights.quantization.settings import read_settings, refuse_used
from llmos.weights.quantization.words import unpack_columns, unpack_rows
from llmos.weights.tensor import Tensor

__all__ = ["SUFFIXES", "CompressedSettings", "read_compressed_settings"]

SUFFIXES = ("weight_packed", "weight", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx")
_IGNORED = frozenset(
    {"global_compression_ratio", "ignore", "run_compressed", "version", "dequantize", "use_optimized_inference"}
)
_UNUSED = frozenset({"kv_cache_scheme", "moe_sparsity_config", "transform_config"})
_FORMATS = ("pack-quantized", "naive-quantized", "int-quantized")
_WEIGHTS_IGNORED = frozenset({"actorder", "observer", "observer_kwargs", "scale_dtype", "zp_dtype"})


@dataclass(frozen=True, kw_only=True)
class WeightScheme:
    """How the weights of a group of layers are stored."""

    num_bits: int = 8
    type: str = "int"
    symmetric: bool = True
    strategy: str | None = None
    group_size: int | None = None
    dynamic: bool = False

    def __post_init__(self):
        if self.type != "int" or self.num_bits not in (4, 8):
            raise UserError(
                f"weights of type {self.type} with {self.num_bits} bits are not supported; understood: int of 4 or 8 bits"
            )
        if self.strategy not in (None, "group", "channel", "tensor") or self.dynamic:
            raise UserError(f"the strategy {self.strategy!r} is not supported; understood: group, channel, tensor")


@dataclass(frozen=True, kw_only=True)
class CompressedSettings:
    """config_groups: the schemes of all groups of layers. Which layer has which, its tensors show."""

    quant_method: str = "compressed-tensors"
    format: str = "pack-quantized"
    quantization_status: str = "compressed"
    schemes: list[WeightScheme] = field(default_factory=list)

    def __post_init__(self):
        if self.format not in (*_FORMATS, "mixed-precision"):
            raise UserError(f"the format {self.format!r} is not supported; understood: {', '.join(_FORMATS)}")
        if self.quantization_status != "compressed":
            raise UserError(f"quantization_status is {self.quantization_status!r}; understood: compressed")

    def stored(self, tensors: Mapping[str, Tensor], where: str) -> Stored:
        """The matrix of one layer. tensors: by their suffixes."""
        packed = tensors.get("weight_packed")
        if packed is None and "weight" not in tensors:
            raise FormatError(where, "has neither weight nor weight_packed beside weight_scale")
        codes_of = packed or tensors["weight"]
        rows, columns = _shape(tensors, where) if packed else codes_of.shape
        bits = _bits(codes_of.shape[1], columns) if packed else 8
        if bits is None or codes_of.shape[0] != rows:
            raise FormatError(
                where, f"weight_packed has shape {list(codes_of.shape)}, which does not hold {rows} x {columns} codes"
            )
        scales = _per_row(tensors["weight_scale"], rows, where)
        return Stored(
            dtype=f"compressed-tensors {bits} bits",
            where=where,
            shape=(rows, columns),
            bits=bits,
            zero=2 ** (bits - 1),
            group_of=self._groups(tensors, columns, scales.shape[1], where),
            codes=_packed(codes_of.data, bits, columns) if packed else _plain(codes_of.data),
            scales=lambda start, stop: scales.rows(start, stop).float32(),
            zeros=_zeros(tensors.get("weight_zero_point"), bits, scales.shape, where),
        )

    def _groups(self, tensors: Mapping[str, Tensor], columns: int, groups: int, where: str) -> np.ndarray:
        """The group of each column."""
        if "weight_g_idx" in tensors:
            g_idx = tensors["weight_g_idx"].data
            if len(g_idx) != columns or (g_idx >= groups).any():
                raise FormatError(
                    where, f"weight_g_idx does not name one of {groups} groups for each of {columns} columns"
                )
            if (g_idx >= 0).all():  # -1: made, and never filled
                return np.asarray(g_idx)
        if groups == 1:
            return np.zeros(columns, np.intp)
        sizes = [s.group_size for s in self.schemes if s.group_size and -(-columns // s.group_size) == groups]
        if not sizes and (groups == 0 or columns % groups):
            raise FormatError(where, f"{groups} groups of scales do not fit {columns} columns")
        return np.arange(columns) // (sizes[0] if sizes else columns // groups)


def read_compressed_settings(raw: Mapping[str, Any], where: str) -> CompressedSettings:
    """The settings in a quantization_config."""
    refuse_used(raw, _UNUSED, where)
    sparsity = raw.get("sparsity_config")
    if isinstance(sparsity, Mapping) and sparsity.get("format", "dense") != "dense":
        raise FormatError(where, f"sparsity_config: the format {sparsity['format']!r} is not supported")
    groups = raw.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise FormatError(where, f"config_groups must be a table of groups of layers, not {groups!r}")
    schemes = [_scheme(group, raw, f"{where}.config_groups.{name}") for name, group in groups.items()]
    plain = {name: value for name, value in raw.items() if name not in ("config_groups", "sparsity_config")}
    return read_settings(CompressedSettings, plain | {"schemes": schemes}, where, _IGNORED | _UNUSED)


def _scheme(group: object, raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The weights of a group of layers, of which nothing else may be quantised."""
    if not isinstance(group, Mapping) or not isinstance(group.get("weights"), Mapping):
        raise FormatError(where, "names no scheme of weights")
    if group.get("input_activations") or group.get("output_activations"):
        raise FormatError(
            where,
            "activations that are quantised are not supported: take a checkpoint with quantised weights only, or none",
        )
    unknown = sorted(group.keys() - {"targets", "weights", "input_activations", "output_activations", "format"})
    if unknown:
        raise FormatError(where, f"{', '.join(unknown)} of a group of layers is not understood")
    if group.get("format") not in (None, *_FORMATS):
        raise FormatError(where, f"the format {group['format']!r} is not supported; understood: {', '.join(_FORMATS)}")
    weights = group["weights"]
    refuse_used(weights, frozenset({"block_structure"}), where)
    return {
        name: value
        for name, value in weights.items()
        if name not in _WEIGHTS_IGNORED | {"block_structure"} and value is not None
    }


def _shape(tensors: Mapping[str, Tensor], where: str) -> tuple[int, int]:
    shape = tensors["weight_shape"].data if "weight_shape" in tensors else np.zeros(0, np.int64)
    if shape.shape != (2,) or not ((shape >= 0) & (shape < 2**31)).all():
        raise FormatError(where, f"weight_shape must be two sizes, not {shape.tolist()}")
    return int(shape[0]), int(shape[1])


def _bits(words: int, columns: int) -> int | None:
    fitting = [bits for bits in (4, 8) if words == -(-columns * bits // 32)]
    return fitting[0] if fitting else None


def _per_row(tensor: Tensor, rows: int, where: str) -> Tensor:
    """Scales (rows, groups), whatever axes were left out."""
    data = tensor.data
    if data.size == 1:
        data = np.broadcast_to(data.reshape(1, 1), (rows, 1))
    elif data.ndim == 1:
        data = data.reshape(-1, 1)
    if data.ndim != 2 or len(data) != rows:
        raise FormatError(where, f"weight_scale has shape {list(tensor.shape)} for {rows} rows")
    return Tensor(tensor.dtype, data, tensor.where)


def _packed(words: np.ndarray, bits: int, columns: int) -> Rows:
    return lambda start, stop: unpack_columns(words[start:stop], bits)[:, :columns]


def _plain(values: np.ndarray) -> Rows:
    """int8 values as codes from 0."""
    return lambda start, stop: np.ascontiguousarray(values[start:stop]).view(np.uint8) ^ np.uint8(0x80)


def _zeros(tensor: Tensor | None, bits: int, shape: tuple[int, ...], where: str) -> Rows | None:
    """Reader of zero points, in units of codes from 0."""
    if tensor is None:
        return None
    data, (rows, groups) = tensor.data, shape
    if tensor.dtype == "int8":
        if data.size != rows * groups and data.size != 1:
            raise FormatError(where, f"weight_zero_point has shape {list(data.shape)} beside scales of {list(shape)}")
        whole = np.broadcast_to(data.reshape(1, 1) if data.size == 1 else data.reshape(rows, groups), (rows, groups))
        return lambda start, stop: whole[start:stop].astype(np.int32) + 2 ** (bits - 1)
    each = 32 // bits
    if data.shape != (-(-rows // each), groups):
        raise FormatError(where, f"weight_zero_point has shape {list(data.shape)} beside scales of {list(shape)}")

    def read(start: int, stop: int) -> np.ndarray:
        first = start // each
        codes = unpack_rows(data[first : -(-stop // each)], bits)  # (groups, outputs)
        return codes[:, start - first * each : stop - first * each].T.astype(np.int32)

    return read
