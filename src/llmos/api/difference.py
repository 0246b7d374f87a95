"""How far the scores of a model lie from those of another, and how far they may."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["LIMITS", "Difference", "Limits", "compared", "limits_of"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a difference may be; None: it is only told.

    error: largest error of a score over the largest score; kl: mean divergence in nats; first: share of equal first choices among
    the tokens whose two best scores lie more than `margin` of the largest score apart; perplexity: relative change.
    """

    error: float | None
    kl: float
    first: float | None
    perplexity: float | None
    margin: float


# By the coarsest number format that is at work, fine to coarse.
LIMITS = {
    "float32": Limits(error=1e-4, kl=1e-6, first=1.0, perplexity=1e-4, margin=1e-3),
    "float16": Limits(error=2e-2, kl=1e-3, first=0.99, perplexity=2e-3, margin=2e-2),
    "bf16": Limits(error=2e-2, kl=1e-3, first=0.99, perplexity=2e-3, margin=2e-2),
    "int8": Limits(error=5e-2, kl=5e-3, first=0.98, perplexity=5e-3, margin=5e-2),
    "uint4": Limits(error=None, kl=0.1, first=None, perplexity=None, margin=0.0),
    "int4": Limits(error=None, kl=0.1, first=None, perplexity=None, margin=0.0),
}


def limits_of(formats: Iterable[str]) -> tuple[str, Limits]:
    """The coarsest of the formats, and what it allows."""
    coarsest = max(formats, key=list(LIMITS).index)
    return coarsest, LIMITS[coarsest]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two models on the same tokens. error: as in `Limits`; of a model without scores the others are None.

    kl: mean of KL(reference, other) in nats; first: share of tokens with the same first choice, first_decided: of those whose
    margin counts; perplexity: relative change on the tokens that follow, perplexity_error: its standard error, since a few
    tokens say little.
    """

    tokens: int
    error: float
    kl: float | None = None
    first: float | None = None
    first_decided: float | None = None
    perplexity: float | None = None
    perplexity_error: float | None = None

    def beyond(self, limits: Limits) -> list[str]:
        """What lies past a limit, in words. A change of perplexity counts where chance does not explain it."""
        found = []
        if not math.isfinite(self.error):
            return ["some scores are no numbers"]
        if limits.error is not None and self.error > limits.error:
            found.append(f"largest error {self.error:.1e} of the largest score, {limits.error:g} allowed")
        if self.kl is not None and self.kl > limits.kl:
            found.append(f"mean divergence {self.kl:.1e} nats, {limits.kl:g} allowed")
        if self.first_decided is not None and limits.first is not None and self.first_decided < limits.first:
            found.append(f"same first choice for {self.first_decided:.1%}, {limits.first:.0%} wanted")
        if limits.perplexity is not None and self.least_change > limits.perplexity:
            found.append(f"perplexity {self.perplexity:+.2%}, {limits.perplexity:.2%} allowed")
        return found

    @property
    def least_change(self) -> float:
        """The size of the change of perplexity that chance does not explain: what is left beyond two standard errors."""
        if self.perplexity is None or self.perplexity_error is None:
            return 0.0
        return abs(self.perplexity) - 2 * self.perplexity_error

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        parts = [f"largest error {self.error:.1e}"]
        if self.kl is not None:
            parts += [f"divergence {self.kl:.1e} nats", f"same first choice {self.first:.1%}"]
        if self.perplexity is not None:
            parts.append(f"perplexity {self.perplexity:+.2%}")
        return ", ".join(parts)


def compared(got: np.ndarray, wanted: np.ndarray, following: Mapping[int, int] | None, margin: float) -> Difference:
    """got, wanted: scores (T, V), or hidden rows where following is None. following: of a row, the token that comes next."""
    largest = float(np.abs(wanted).max())
    error = float(np.abs(got - wanted).max()) / largest if largest else float(np.abs(got).max())
    if following is None or not np.isfinite(got).all():
        return Difference(tokens=len(wanted), error=error if np.isfinite(got).all() else math.inf)
    p, q = _log_softmax(wanted), _log_softmax(got)
    best = wanted.argmax(-1)
    same = got.argmax(-1) == best
    others = np.partition(wanted, -2, axis=-1)[:, -2] if wanted.shape[1] > 1 else np.full(len(wanted), -np.inf)
    decided = wanted.max(-1) - others > margin * largest
    rows, ids = list(following), list(following.values())
    worse = p[rows, ids] - q[rows, ids]
    return Difference(
        tokens=len(wanted),
        error=error,
        kl=max(0.0, float((np.exp(p) * (p - q)).sum(-1).mean())),
        first=float(same.mean()),
        first_decided=float(same[decided].mean()) if decided.any() else 1.0,
        perplexity=float(np.expm1(worse.mean())) if rows else None,
        perplexity_error=float(worse.std() / math.sqrt(len(rows))) if rows else None,
    )


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    """Rows in double, of which there are at most as many as verification has tokens."""
    scores = scores.astype(np.float64)
    scores -= scores.max(-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))
