"""What number formats do to a trained model, as rows for the page of fidelity."""

from collections.abc import Iterator
from pathlib import Path

from fidelity_models import error, number
from trained import divergence, logits, windows

from llmos.compiler import FORMATS

__all__ = ["trained_formats"]


def trained_formats(data: Path) -> Iterator[list[str]]:
    """A row for each format: largest logit error, mean KL in nats, top-1 agreement, rise of perplexity, all against float32."""
    ids = windows(data)
    reference, _ = logits("float32", ids)
    for format in FORMATS:
        got, _ = logits(format, ids)
        found = divergence(got, reference, ids)
        print(f"{format}: {error(got, reference)} {found}", flush=True)
        yield [
            *(format, number(error(got, reference)), number(found["mean_kl"])),
            *(f"{found['agreement']:.2%}", f"{found['perplexity_rise']:+.2%}"),
        ]
