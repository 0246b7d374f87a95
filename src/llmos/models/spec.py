"""What a decoder-only transformer is made of, as plain data. Nested parts, each validating itself.

A spec holds one `Layer` per layer; equal layers compare equal, so `Spec.layer_kinds` is what the compiler specialises for
and models that alternate kinds need nothing new.
"""

from dataclasses import dataclass
from typing import Literal

from llmos.core.errors import UserError

__all__ = ["Attention", "Layer", "Llama3Scaling", "Mlp", "Norm", "Rope", "Spec"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _require_float32(name: str, value: float) -> None:
    """Kernels take a number as a float32 literal, which must neither vanish nor become infinite."""
    smallest, largest = 2.0**-126, (2 - 2**-23) * 2.0**127
    _require(smallest <= value <= largest, f"{name} must lie between {smallest:.2g} and {largest:.2g}, not {value}")


@dataclass(frozen=True, kw_only=True)
class Norm:
    """Layer norm (mean and variance, with bias) or RMS norm (arXiv:1910.07467, no bias)."""

    kind: Literal["layer", "rms"]
    eps: float

    def __post_init__(self):
        _require_float32("norm eps", self.eps)


@dataclass(frozen=True, kw_only=True)
class Llama3Scaling:
    """Llama 3.1's stretching of low rope frequencies. Reference: transformers `modeling_rope_utils.py`, rope_type llama3."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int

    def __post_init__(self):
        _require(self.factor >= 1, f"rope scaling factor must be at least 1, not {self.factor}")
        for name in ("factor", "low_freq_factor", "high_freq_factor"):
            _require_float32(f"rope {name}", getattr(self, name))
        _require(
            self.high_freq_factor > self.low_freq_factor,
            f"rope high_freq_factor ({self.high_freq_factor}) must exceed low_freq_factor ({self.low_freq_factor})",
        )
        _require(self.original_context > 0, f"rope original context must be positive, not {self.original_context}")


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary positions (arXiv:2104.09864) over whole heads; dimension i is paired with i + d/2 (the Hugging Face layout)."""

    theta: float
    linear_factor: float = 1.0  # all frequencies divided by it (position interpolation, arXiv:2306.15595)
    llama3: Llama3Scaling | None = None

    def __post_init__(self):
        _require_float32("rope theta", self.theta)
        _require_float32("rope factor", self.linear_factor)
        _require(self.linear_factor >= 1, f"rope factor must be at least 1, not {self.linear_factor}")


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Causal attention with `heads` queries sharing `kv_heads` keys and values (arXiv:2305.13245). Scale is head_dim ** -0.5."""

    heads: int
    kv_heads: int
    head_dim: int
    qkv_bias: bool = False
    out_bias: bool = False
    rope: Rope | None = None  # None: positions are learned embeddings

    def __post_init__(self):
        _require(min(self.heads, self.kv_heads, self.head_dim) > 0, f"attention sizes must be positive: {self}")
        _require(
            self.heads % self.kv_heads == 0, f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})"
        )
        _require(self.rope is None or self.head_dim % 2 == 0, f"rope needs an even head size, not {self.head_dim}")


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """down(act(up x)), or down(act(gate x) * up x) when gated (arXiv:2002.05202)."""

    hidden: int
    act: Literal["gelu", "gelu_tanh", "relu", "silu"]
    gated: bool
    bias: bool = False

    def __post_init__(self):
        _require(self.hidden > 0, f"mlp hidden size must be positive, not {self.hidden}")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One pre-norm block: x + attention(norm1 x), then x + mlp(norm2 x)."""

    norm: Norm
    attention: Attention
    mlp: Mlp


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A whole model. width: size of the residual stream; context: largest number of positions it was made for."""

    family: str
    width: int
    vocab: int
    context: int
    layers: tuple[Layer, ...]
    norm: Norm
    embed_scale: float = 1.0
    learned_positions: bool = False
    tied: bool = False  # the output head is the embedding table

    def __post_init__(self):
        _require(min(self.width, self.vocab, self.context) > 0, "width, vocab and context must be positive")
        _require_float32("embed scale", self.embed_scale)
        _require(len(self.layers) > 0, "a model needs at least one layer")

    @property
    def layer_kinds(self) -> tuple[Layer, ...]:
        """The distinct layers, in order of first use."""
        return tuple(dict.fromkeys(self.layers))
