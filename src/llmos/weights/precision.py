"""Which number format keeps a checkpoint's matrices, so that little is rounded unless someone asks for it, and what is, is told.

What graphs keep in float32 in any format has no say: files hold it in float32 beside matrices of fewer bits.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from llmos.core.errors import FormatError
from llmos.weights.quantized import QuantizedTensor
from llmos.weights.tensor import Tensor

__all__ = ["Precision", "precision_of"]

# The last part of the names of tables and matrices that stay float32 (see the compiler's `choose_formats` and `layout`).
_ALWAYS_FLOAT32 = frozenset({"position", "token_type", "router", "q_norm", "k_norm", "relative"})
_PLAIN = {"float32": "float32", "bfloat16": "bf16", "float16": "float16"}  # type of a tensor -> format of weights

Stored = Tensor | QuantizedTensor


@dataclass(frozen=True, kw_only=True)
class Precision:
    """dtype: the format of weights that keeps the matrices: float32, bf16 or float16 of plain ones, else int8, int4, uint4 or float16.

    tables: of embedding, positions and head, where it is another than that of the layers. matrices: of those of the layers that
    have another than most, by name. notices: what a user should know of the choice.
    """

    dtype: str
    tables: str | None = None
    matrices: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def precision_of(
    tensors: Mapping[str, Stored], where: object, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> Precision:
    """The precision of parameters by their names. Raises FormatError for numbers of other kinds, naming `where` they are.

    tensors: what each is stored in; shapes: of the parameters, where a tensor holds several.
    """
    strange = {tensor.dtype for tensor in tensors.values() if isinstance(tensor, Tensor)} - set(_PLAIN)
    if strange:
        known = ", ".join(_PLAIN)
        raise FormatError(where, f"weights of type {', '.join(sorted(strange))} are not supported; known: {known}")
    matrices = {name: tensor for name, tensor in tensors.items() if len(tensor.shape) >= 2 and _has_a_say(name)}
    if not _quantized(matrices.values()):
        return Precision(dtype=_widest(matrices.values()))
    layers = {name: tensor for name, tensor in matrices.items() if name.startswith(("layer.", "encoder."))}
    formats = _of_each(layers)
    if formats is None:
        return Precision(dtype="float16", notices=(_decoded(layers),))
    format = _most(formats, shapes or {name: tensor.shape for name, tensor in layers.items()})
    tables = [tensor for name, tensor in matrices.items() if name not in layers]
    of_tables = (_format(tables) or "float16") if tables else format
    rounded = _rounded(tables, of_tables).union(*(_rounded([layers[name]], own) for name, own in formats.items()))
    return Precision(
        dtype=format,
        tables=None if of_tables == format else of_tables,
        matrices={name: own for name, own in formats.items() if own != format},
        notices=(_rounding(sorted(rounded)),) if rounded else (),
    )


def _of_each(layers: Mapping[str, Stored]) -> dict[str, str] | None:
    """The format of each matrix; None where one cannot have any that is near to how it is stored.

    Those that are computed as one share one. Other files than GGUF, whose kinds are made to be mixed, have one for all.
    """
    mixed = all(tensor.fits for tensor in _quantized(layers.values()))
    stacks: dict[str, dict[str, Stored]] = {}
    for name, tensor in layers.items():
        stacks.setdefault(_stack(name) if mixed else "", {})[name] = tensor
    out: dict[str, str] = {}
    for stack in stacks.values():
        format = _format(stack.values())
        if format is None:
            return None
        out |= dict.fromkeys(stack, format)
    return out


_STACKS = {"q": "qkv", "k": "qkv", "v": "qkv", "gate": "gate_up", "up": "gate_up"}  # as the compiler's passes fuse them


def _stack(name: str) -> str:
    """What a matrix is computed together with: queries with keys and values, gate with up, either of these and down of an expert
    with those of all others.
    """
    before, _, last = name.rpartition(".")
    return f"{re.sub(r'[.]expert[.][0-9]+$', '.experts', before)}.{_STACKS.get(last, last)}"


def _most(formats: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The format that most values have."""
    values: dict[str, int] = {}
    for name, format in formats.items():
        values[format] = values.get(format, 0) + math.prod(shapes[name])
    return max(values, key=lambda name: (values[name], name))


def _has_a_say(name: str) -> bool:
    return name.rpartition(".")[2] not in _ALWAYS_FLOAT32


def _format(matrices: Iterable[Stored]) -> str | None:
    """The smallest format that holds all as they are; else int8 where all that is quantised fits into it, else None."""
    matrices = list(matrices)
    quantized = _quantized(matrices)
    if not quantized:
        return _widest(matrices)
    held = [set(tensor.formats) if isinstance(tensor, QuantizedTensor) else set() for tensor in matrices]
    common = next((format for format in ("int4", "uint4", "int8") if all(format in formats for formats in held)), None)
    fits = all(tensor.fits == "int8" for tensor in quantized)
    return common or ("int8" if fits else None)


def _rounded(matrices: Iterable[Stored], format: str) -> set[str]:
    """How matrices are stored that a format of codes does not hold."""
    if format not in ("int4", "uint4", "int8"):
        return set()
    return {t.dtype for t in matrices if not isinstance(t, QuantizedTensor) or format not in t.formats}


def _quantized(matrices: Iterable[Stored]) -> list[QuantizedTensor]:
    return [tensor for tensor in matrices if isinstance(tensor, QuantizedTensor)]


def _widest(matrices: Iterable[Stored]) -> str:
    """The format that holds all: neither of float16 and bf16 holds the other."""
    found = {_PLAIN[tensor.dtype] for tensor in matrices}
    return found.pop() if len(found) == 1 else "float32"


def _rounding(kinds: list[str]) -> str:
    return (
        f"matrices that are stored as {', '.join(kinds)} are rounded a second time, to int8; weights='float16' or 'float32' keeps "
        "their values and takes more memory"
    )


def _decoded(layers: Mapping[str, Stored]) -> str:
    plain = sorted(name for name, tensor in layers.items() if isinstance(tensor, Tensor))
    stored = ", ".join(sorted({tensor.dtype for tensor in _quantized(layers.values())}))
    why = (
        f"{len(plain)} matrices are not quantised ({plain[0]}, ...)"
        if plain
        else "no weight format of LLMOS holds all of its layers exactly"
    )
    return (
        f"the checkpoint holds {stored}, and {why}: its weights become float16, which takes more memory; weights='int4' or 'int8' "
        "rounds them again"
    )
