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
    """got, wanted: scores (T, V), or hidden rows where following is None. following: of a row, the token that comes next.

    Taken row by row: in double, all rows of a large vocabulary would need more memory than the model.
    """
    largest = float(np.max([np.abs(row).max() for row in wanted]))
    apart = float(np.max([np.abs(a - b).max() for a, b in zip(got, wanted, strict=True)]))
    error = apart / largest if largest else apart
    finite = all(bool(np.isfinite(row).all()) for row in got)
    if following is None or not finite:
        return Difference(tokens=len(wanted), error=error if finite else math.inf)
    divergence, same, decided = np.zeros(len(wanted)), np.zeros(len(wanted), bool), np.zeros(len(wanted), bool)
    worse = []
    for i, (ours, theirs) in enumerate(zip(got, wanted, strict=True)):
        p, q = _log_softmax(theirs), _log_softmax(ours)
        divergence[i] = (np.exp(p) * (p - q)).sum()
        same[i] = ours.argmax() == theirs.argmax()
        second = np.partition(theirs, -2)[-2] if len(theirs) > 1 else -np.inf
        decided[i] = theirs.max() - second > margin * largest
        if i in following:
            worse.append(p[following[i]] - q[following[i]])
    return Difference(
        tokens=len(wanted),
        error=error,
        kl=max(0.0, float(divergence.mean())),
        first=float(same.mean()),
        first_decided=float(same[decided].mean()) if decided.any() else 1.0,
        perplexity=float(np.expm1(np.mean(worse))) if worse else None,
        perplexity_error=float(np.std(worse) / math.sqrt(len(worse))) if worse else None,
    )


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    """Of a row, in double."""
    scores = scores.astype(np.float64)
    scores -= scores.max()
    return scores - np.log(np.exp(scores).sum())
