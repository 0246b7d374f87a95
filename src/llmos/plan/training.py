"""Memory of a training step, from the spec alone: float32 masters, gradients, moments, and what backward needs of forward.

Counted as `trainer.module` and `ops.torch_ops` compute: every product keeps its input, norms keep theirs and their result,
attention keeps queries, keys and values with keys repeated for their queries, the loss keeps scores and their logarithms. B
sequences of T tokens are computed at once; accumulation repeats that and adds nothing. Within 10 % of three models of 5 and 23
million parameters without torch.compile, which was not measured.
"""

import math

from llmos.models import Spec, shapes, share_of_tokens
from llmos.plan.footprint import Footprint, Part, Phase

__all__ = ["training"]

_MOMENTS = {"adamw": 2, "muon": 2}  # Muon keeps one for matrices; its orthogonal update works on copies
_FLOAT, _HALF = 4, 2
_TORCH = (
    290 * 2**20
)  # torch itself (170 MiB of a process that imported it) and what its allocator and products hold besides


def training(
    spec: Spec, *, held_bytes: int, sequences: int, length: int, precision: str = "bf16", optimizer: str = "adamw"
) -> Footprint:
    """Memory of training a spec on `sequences` windows of `length` tokens at once. precision: of products, bf16 or float32."""
    n_parameters = sum(math.prod(shape) for shape in shapes(spec).values())
    tokens = sequences * length
    masters = (
        Part(name="parameters", n_bytes=_FLOAT * n_parameters),
        Part(name="gradients", n_bytes=_FLOAT * n_parameters),
        Part(name="moments", n_bytes=_MOMENTS[optimizer] * _FLOAT * n_parameters),
        Part(name="torch", n_bytes=_TORCH),
    )
    element = _HALF if precision == "bf16" else _FLOAT
    copies = _HALF * _matrix_values(spec) if precision == "bf16" else 0
    forward = (
        Part(name="activations", n_bytes=tokens * _kept_bytes(spec, element)),
        Part(name="scores", n_bytes=tokens * spec.vocab * (element + 2 * _FLOAT)),
        Part(name="parameters in bf16", n_bytes=copies),
    )
    return Footprint(held_bytes=held_bytes, phases=(Phase(name="training step", parts=masters + forward),))


def _matrix_values(spec: Spec) -> int:
    """Values of the matrices that products multiply with, which autocast keeps in bf16 until the step ends."""
    return sum(math.prod(shape) for name, shape in shapes(spec).items() if len(shape) == 2 and name != "position")


def _kept_bytes(spec: Spec, element: int) -> int:
    """Bytes that all layers keep for a token until backward; of experts those that work on it do."""
    products = norms = 0.0
    for name, shape in shapes(spec).items():
        if name.startswith("layer."):
            if len(shape) == 2:
                products += sum(shape) * share_of_tokens(spec, name)  # its input and its output
            else:
                norms += math.prod(shape)
    parts = (layer.attention for layer in spec.layers)
    repeated = sum(4 * a.heads * a.head_dim for a in parts)  # queries, repeated keys and values, and what comes out
    return math.ceil(element * (products + repeated) + _FLOAT * 4 * norms)
