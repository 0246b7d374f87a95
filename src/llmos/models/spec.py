"""What a transformer is made of, as plain data. Nested parts, each validating itself.

A spec holds one `Layer` per layer; equal layers compare equal, so `Spec.layer_kinds` is what the compiler specialises for
and models that alternate kinds need nothing new. A family is a choice of parts: what one family needs and no part says yet
becomes a field here, never a branch on the family's name.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from llmos.core.errors import UserError

__all__ = [
    "Attention",
    "Encoder",
    "Experts",
    "HeadNorm",
    "Layer",
    "Llama3Scaling",
    "LongFactors",
    "Mlp",
    "Norm",
    "RelativeBias",
    "Rope",
    "Spec",
    "Yarn",
]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _require_float32(name: str, value: float) -> None:
    """Kernels take a number as a float32 literal, which must neither vanish nor become infinite."""
    smallest, largest = 2.0**-126, (2 - 2**-23) * 2.0**127
    _require(smallest <= value <= largest, f"{name} must lie between {smallest:.2g} and {largest:.2g}, not {value}")


Act = Literal["gelu", "gelu_tanh", "relu", "silu"]


@dataclass(frozen=True, kw_only=True)
class Norm:
    """Layer norm (mean and variance; with a bias or without) or RMS norm (arXiv:1910.07467, never a bias)."""

    kind: Literal["layer", "rms"]
    eps: float
    bias: bool = True  # of layer norm

    def __post_init__(self):
        _require_float32("norm eps", self.eps)

    @property
    def has_bias(self) -> bool:
        return self.kind == "layer" and self.bias


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
class LongFactors:
    """LongRoPE (arXiv:2402.13753): each frequency divided by its factor, `short` for contexts up to `original_context`.

    transformers changes from short to long when a sequence outgrows the original context, which would give stored keys
    another angle. Here the context that a model is loaded with decides, once.
    """

    short: tuple[float, ...]
    long: tuple[float, ...]
    original_context: int

    def __post_init__(self):
        for factor in (*self.short, *self.long):
            _require_float32("rope factor", factor)
        _require(len(self.short) == len(self.long), "rope needs as many long factors as short ones")
        _require(self.original_context > 0, f"rope original context must be positive, not {self.original_context}")


@dataclass(frozen=True, kw_only=True)
class Yarn:
    """YaRN (arXiv:2309.00071): low frequencies divided by `factor`, high ones kept, a ramp between.

    truncate: the ramp's ends are whole pairs.
    """

    factor: float
    original_context: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True

    def __post_init__(self):
        _require(self.factor >= 1, f"rope scaling factor must be at least 1, not {self.factor}")
        for name in ("factor", "beta_fast", "beta_slow"):
            _require_float32(f"rope {name}", getattr(self, name))
        _require(self.beta_fast >= self.beta_slow, f"rope beta_fast ({self.beta_fast}) must be at least beta_slow")
        _require(self.original_context > 0, f"rope original context must be positive, not {self.original_context}")


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary positions (arXiv:2104.09864); dimension i is paired with i + n/2 of the n rotated (the Hugging Face layout).

    rotated: how many of a head's first dimensions turn, None for all. magnitude: factor of both cosine and sine, by which
    stretched models sharpen attention.
    """

    theta: float
    rotated: int | None = None
    linear_factor: float = 1.0  # all frequencies divided by it (position interpolation, arXiv:2306.15595)
    llama3: Llama3Scaling | None = None
    long: LongFactors | None = None
    yarn: Yarn | None = None
    magnitude: float = 1.0

    def __post_init__(self):
        _require_float32("rope theta", self.theta)
        _require_float32("rope factor", self.linear_factor)
        _require_float32("rope magnitude", self.magnitude)
        _require(self.linear_factor >= 1, f"rope factor must be at least 1, not {self.linear_factor}")
        _require(
            self.rotated is None or (self.rotated > 0 and self.rotated % 2 == 0),
            f"rope turns an even number of dimensions, not {self.rotated}",
        )
        _require(self.yarn is None or self.theta > 1, f"rope theta of YaRN must exceed 1, not {self.theta}")
        if self.long is not None and self.rotated is not None:
            _require(
                len(self.long.short) == self.rotated // 2,
                f"rope needs {self.rotated // 2} factors, has {len(self.long.short)}",
            )


@dataclass(frozen=True, kw_only=True)
class HeadNorm:
    """A norm of queries and keys before rope. over: each head with one scale for all, each head with its own scale, or all
    heads together as one row (width)."""

    norm: Norm
    over: Literal["head", "own", "width"]

    def __post_init__(self):
        _require(not self.norm.has_bias, "norms of queries and keys have no bias")


@dataclass(frozen=True, kw_only=True)
class RelativeBias:
    """A learned number for each head and bucket of distances, added to the scores (arXiv:1910.10683, T5).

    Half of the buckets hold one distance each, the others grow with its logarithm up to `max_distance`; where tokens see
    both ways, half of all are for what comes after.
    """

    buckets: int
    max_distance: int

    def __post_init__(self):
        _require(4 <= self.buckets <= 255, f"relative positions need 4 to 255 buckets, not {self.buckets}")
        _require(
            self.buckets < self.max_distance <= 4096,
            f"the largest relative distance must exceed the {self.buckets} buckets and be at most 4096, not {self.max_distance}",
        )


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Attention of `heads` queries that share `kv_heads` keys and values (arXiv:2305.13245).

    scale: factor of the scores, None for head_dim ** -0.5. window: a token sees itself and the window - 1 before it, None
    for all. softcap: scores become cap * tanh(score / cap). causal: a token sees those up to itself; otherwise, as in an
    encoder, every token of its sequence, the later ones too.
    """

    heads: int
    kv_heads: int
    head_dim: int
    qkv_bias: bool = False
    out_bias: bool = False
    rope: Rope | None = None  # None: no rotation
    scale: float | None = None
    window: int | None = None
    softcap: float | None = None
    qk_norm: HeadNorm | None = None
    causal: bool = True
    relative: RelativeBias | None = None

    def __post_init__(self):
        _require(min(self.heads, self.kv_heads, self.head_dim) > 0, f"attention sizes must be positive: {self}")
        _require(
            self.heads % self.kv_heads == 0, f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})"
        )
        _require(self.rope is None or self.rotated % 2 == 0, f"rope needs an even head size, not {self.head_dim}")
        _require(self.rotated <= self.head_dim, f"rope turns {self.rotated} dimensions of a head of {self.head_dim}")
        _require(self.window is None or self.window > 0, f"attention window must be positive, not {self.window}")
        _require(self.causal or self.window is None, "attention to later tokens has no window")
        for name in ("scale", "softcap"):
            value = getattr(self, name)
            if value is not None:
                _require_float32(f"attention {name}", value)

    @property
    def rotated(self) -> int:
        """Dimensions of a head that rope turns."""
        if self.rope is None:
            return 0
        return self.head_dim if self.rope.rotated is None else self.rope.rotated

    @property
    def score_scale(self) -> float:
        return self.head_dim**-0.5 if self.scale is None else self.scale


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """down(act(up x)), or down(act(gate x) * up x) when gated (arXiv:2002.05202)."""

    hidden: int
    act: Act
    gated: bool
    bias: bool = False

    def __post_init__(self):
        _require(self.hidden > 0, f"mlp hidden size must be positive, not {self.hidden}")
        _require(self.act in get_args(Act), f"activation {self.act!r} is not known")


MOST_EXPERTS = 1024  # each has parameters by name, which are listed before anything is compared with the weights


@dataclass(frozen=True, kw_only=True)
class Experts:
    """A mixture of gated MLPs (arXiv:2401.04088): the `per_token` with the largest router scores work on a token.

    Their weights are a softmax over all scores; normalised: divided by the sum of the chosen ones.
    """

    count: int
    per_token: int
    hidden: int
    act: Act
    normalised: bool = True

    def __post_init__(self):
        _require(
            0 < self.per_token <= self.count,
            f"experts per token ({self.per_token}) must lie between 1 and the number of experts ({self.count})",
        )
        _require(self.count <= MOST_EXPERTS, f"models of up to {MOST_EXPERTS} experts are read, this has {self.count}")
        _require(self.hidden > 0, f"expert hidden size must be positive, not {self.hidden}")
        _require(self.act in get_args(Act), f"activation {self.act!r} is not known")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Attention, then a feed-forward part, each added to the residual stream.

    norms: where they stand. pre: x + f(norm x). output: x + norm f(x) (OLMo 2). sandwich: x + post(f(norm x)) (Gemma 2).
    post: norm(x + f(x)), as in the first transformer. parallel: both parts read x, and x + attention + feed-forward goes
    on; shared_norm: with one norm between them. branch_scale: factor of what each part adds. cross: attention to what an
    encoder made of a source, between the two.
    """

    norm: Norm
    attention: Attention
    mlp: Mlp | Experts
    norms: Literal["pre", "output", "sandwich", "post"] = "pre"
    parallel: bool = False
    shared_norm: bool = False
    branch_scale: float = 1.0
    cross: Attention | None = None

    def __post_init__(self):
        _require(self.cross is None or not self.parallel, "parallel branches have no cross-attention")
        _require(not self.parallel or self.norms == "pre", "parallel branches have their norms before them")
        _require(self.parallel or not self.shared_norm, "only parallel branches share a norm")
        _require_float32("branch scale", self.branch_scale)

    @property
    def norm_names(self) -> tuple[str, ...]:
        """The parameters of its norms, in the order of use."""
        if self.parallel:
            return ("norm1",) if self.shared_norm else ("norm1", "norm2")
        parts = ("1", "2") if self.cross is None else ("1", "_cross", "2")
        kinds = {"sandwich": ("norm", "post"), "output": ("post",)}.get(self.norms, ("norm",))
        return tuple(kind + part for part in parts for kind in kinds)


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Layers that read a whole source at once, for a decoder that attends to what they make of it. norm: after the last."""

    layers: tuple[Layer, ...]
    norm: Norm | None

    def __post_init__(self):
        _require(len(self.layers) > 0, "an encoder needs at least one layer")
        for layer in self.layers:
            _require(not layer.attention.causal and layer.cross is None, "layers of an encoder see their whole source")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A whole model. width: size of the residual stream; context: largest number of positions it was made for.

    embed_width: size of an embedding where it is not the width (two projections lead there and back). token_types: rows of
    a table of kinds of tokens, of which the first is added to every embedding. norm: before the head. head: the model gives
    scores; otherwise the rows that a head would read. logit_scale, logit_softcap: what becomes of the scores, in this order.
    encoder: reads the source of every sequence, with the same embeddings; start_id: the token that a continuation of it
    begins with.
    """

    family: str
    width: int
    vocab: int
    context: int
    layers: tuple[Layer, ...]
    norm: Norm | None
    embed_scale: float = 1.0
    embed_width: int | None = None
    embed_norm: Norm | None = None
    learned_positions: bool = False
    token_types: int = 0
    head: bool = True
    tied: bool = False  # the output head is the embedding table
    head_bias: bool = False
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    encoder: Encoder | None = None
    start_id: int | None = None

    def __post_init__(self):
        _require(
            all((layer.cross is None) == (self.encoder is None) for layer in self.layers),
            "cross-attention needs an encoder, and an encoder cross-attention in every layer",
        )
        _require(
            (self.encoder is None) == (self.start_id is None) and 0 <= (self.start_id or 0) < self.vocab,
            f"a decoder with an encoder needs a token to start with, not {self.start_id}",
        )
        _require(min(self.width, self.vocab, self.context) > 0, "width, vocab and context must be positive")
        _require_float32("embed scale", self.embed_scale)
        _require_float32("logit scale", self.logit_scale)
        if self.logit_softcap is not None:
            _require_float32("logit softcap", self.logit_softcap)
        _require(
            self.embed_width is None or self.embed_width > 0,
            f"embedding width must be positive, not {self.embed_width}",
        )
        _require(len(self.layers) > 0, "a model needs at least one layer")
        _require(self.token_types >= 0, f"the number of token types must not be negative, as {self.token_types} is")
        _require(self.head or not (self.tied or self.head_bias), "a model without a head has no parameters of one")
        _require(
            len({layer.attention.causal for layer in self.layers}) == 1,
            "either all layers attend to later tokens or none does",
        )

    @property
    def bidirectional(self) -> bool:
        """Whether a token depends on those after it, so that a sequence can only be computed as a whole."""
        return not self.layers[0].attention.causal

    @property
    def layer_kinds(self) -> tuple[Layer, ...]:
        """The distinct layers, in order of first use."""
        return tuple(dict.fromkeys(self.layers))

    @property
    def ropes(self) -> tuple[tuple[Rope, int], ...]:
        """The distinct ropes with the size of their heads, in order of first use."""
        layers = self.layers if self.encoder is None else (*self.encoder.layers, *self.layers)
        parts = (layer.attention for layer in layers)
        return tuple(dict.fromkeys((a.rope, a.head_dim) for a in parts if a.rope is not None))
