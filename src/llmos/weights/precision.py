"""Which number format keeps a checkpoint's matrices, so that nothing is rounded unless someone asks for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llmos.core.errors import FormatError
from llmos.weights.quantized import QuantizedTensor
from llmos.weights.tensor import Tensor

__all__ = ["Precision", "precision_of"]

_WIDTH = {"float32": 3, "bfloat16": 2, "float16": 1}


@dataclass(frozen=True, kw_only=True)
class Precision:
    """dtype: float32, bfloat16 or float16 for plain matrices, else the format of quantised ones: int8, int4, uint4 or float16.

    tables: where the layers are quantised and embedding, positions or head are not, the dtype of these. notices: what a user
    should know of the choice.
    """

    dtype: str
    tables: str | None = None
    notices: tuple[str, ...] = ()


def precision_of(tensors: Mapping[str, Tensor | QuantizedTensor], where: object) -> Precision:
    """The precision of parameters by their names. Raises FormatError for numbers of other kinds, naming `where` they are."""
    plain = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    strange = {tensor.dtype for tensor in plain.values()} - _WIDTH.keys()
    if strange:
        known = ", ".join(_WIDTH)
        raise FormatError(where, f"weights of type {', '.join(sorted(strange))} are not supported; known: {known}")
    matrices = {name: tensor.dtype for name, tensor in plain.items() if len(tensor.shape) == 2}
    quantized = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, QuantizedTensor)}
    if not quantized:
        return Precision(dtype=_widest(matrices.values()))
    tables = [dtype for name, dtype in matrices.items() if not _of_layer(name)]
    layers = sorted(filter(_of_layer, matrices))
    kept = {name: tensor for name, tensor in quantized.items() if _of_layer(name) or not tables}
    common = None if layers else _common({tensor.keeps for tensor in kept.values()})
    if common is not None:
        return Precision(dtype=common, tables=_widest(tables) if tables else None)
    return Precision(dtype="float16", notices=(_notice(quantized, layers),))


def _of_layer(name: str) -> bool:
    return "layer." in name


def _widest(dtypes: Iterable[str]) -> str:
    return max(dtypes, key=_WIDTH.__getitem__)


def _common(keeps: set[str | None]) -> str | None:
    """The format that holds all of what these hold."""
    if keeps == {"int4", "uint4"}:
        return "uint4"
    return next(iter(keeps)) if len(keeps) == 1 else None


def _notice(quantized: Mapping[str, QuantizedTensor], layers: list[str]) -> str:
    stored = ", ".join(sorted({tensor.dtype for tensor in quantized.values()}))
    why = (
        f"{len(layers)} matrices are not quantised ({layers[0]}, ...)"
        if layers
        else "no weight format of LLMOS holds all of its layers exactly"
    )
    return (
        f"the checkpoint holds {stored}, and {why}: its weights become float16, which takes more memory; weights='int4' or 'int8' "
        "rounds them again"
    )
