"""Holds a compiled model to the definition of its checkpoint in float32, before anybody gets it.

The definition reads the checkpoint through `ops.stored_ops`, a block of rows at a time; the other side is the bundle as it
was written, loaded and run by the code of this machine. Both see the same fixed text, or the same numbers where the model has no
tokenizer.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmos import __version__
from llmos.api.difference import Difference, Limits, compared, limits_of
from llmos.api.prepare import prepare
from llmos.api.source import Source
from llmos.compiler import Options
from llmos.core.errors import VerificationError
from llmos.core.files import atomic_write
from llmos.hardware import usable_cores
from llmos.models import Spec, encode, forward, memories
from llmos.ops.stored_ops import StoredMatrix, StoredOps
from llmos.runtime import Batch, NativeExecutor, Output
from llmos.runtime.abi import PAGE_TOKENS
from llmos.text import Tokenizer

__all__ = ["Report", "fixed_ids", "publishable", "report_path", "verify", "write_report"]

TEXT = (
    "The old lighthouse keeper climbed the stairs every evening, counting the steps aloud so that he would not lose his place. "
    "In 1969, 3 people travelled 384,400 km to the Moon; two of them walked on it.\n\n"
    "def area(radius: float) -> float:\n    return 3.14159 * radius ** 2\n\n"
    "Question: What is the capital of France?\nAnswer: Paris.\n"
    "Die Würde des Menschen ist unantastbar. 春眠不觉晓,处处闻啼鸟。\n"
    "To bake bread you need flour, water, salt and yeast. Mix them well, let the dough rest for an hour, and put it into a hot oven. "
    "She opened the door and said: “Come in, we have been waiting for you.” Nobody answered, and the wind shut it again."
)
_TOKENS = 128  # enough for the limits to mean something, few enough for seconds
_ROWS = 32  # whose scores are computed at once: those of large vocabularies take more memory than the rest


@dataclass(frozen=True, kw_only=True)
class Report:
    """What verification found. format: the coarsest at work, which decides the limits; beyond: what lies past them."""

    difference: Difference
    format: str
    limits: Limits
    beyond: tuple[str, ...]

    def __str__(self) -> str:
        return f"verified on {self.difference.tokens} tokens against float32: {self.difference}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "reference": "the checkpoint's forward pass in float32",
            "difference": self.difference.to_dict(),
            "format": self.format,
            "limits": asdict(self.limits),
            "beyond": list(self.beyond),
            "producer": f"llmos {__version__}",
        }


def verify(
    source: Source,
    options: Options,
    bundle: Path,
    *,
    target: str | None = None,
    max_kl: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Compare a bundle with the checkpoint that it was made from, on a target of this machine.

    max_kl: nats that are allowed instead of the format's own limit. Raises ResourceError where there is no memory to run it.
    """
    if progress:
        progress("verifying: the definition")
    context = min(source.spec.context, _TOKENS)
    ids = fixed_ids(source, context)
    read = ids[: context // 2] if source.spec.encoder is not None else []
    wanted = _defined(source, ids, read, context)
    if progress:
        progress("verifying: the compiled model")
    got = _computed(bundle, ids, read, context, target, hidden=not source.spec.head)
    format, limits = limits_of(
        (options.weights, options.kv, *filter(None, [options.tables]), *dict(options.matrices).values())
    )
    if max_kl is not None:
        limits = replace(limits, kl=max_kl)
    following = dict(enumerate(ids[1:])) if source.spec.head else None
    difference = compared(got, wanted, following, limits.margin)
    return Report(difference=difference, format=format, limits=limits, beyond=tuple(difference.beyond(limits)))


def fixed_ids(source: Source, n: int) -> list[int]:
    """At most n ids: those of a fixed text, repeated to fill, or numbers spread over the vocabulary without a tokenizer."""
    if source.prompt_format is not None:
        ids = Tokenizer(source.prompt_format).encode(TEXT)
        return (ids * (1 + n // max(len(ids), 1)))[:n] if ids else _spread(source.spec, n)
    return _spread(source.spec, n)


def _spread(spec: Spec, n: int) -> list[int]:
    return [(i + 1) * 2654435761 % 4294967296 * spec.vocab >> 32 for i in range(n)]  # Knuth's multiplicative hash


class _Stored(Mapping[str, Any]):
    """Parameters as `StoredOps` takes them: vectors as float32, matrices as they lie in the file."""

    def __init__(self, source: Source):
        assert source.parameters is not None, "a checkpoint has parameters"
        self._found = source.parameters

    def __getitem__(self, name: str) -> np.ndarray | StoredMatrix:
        tensor = self._found[name]
        self.release()
        return tensor if len(tensor.shape) == 2 else tensor.float32()

    def release(self) -> None:
        """Let go of what was read: a large checkpoint would lie in memory else."""
        self._found.checkpoint.release()

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _defined(source: Source, ids: Sequence[int], read: Sequence[int], context: int) -> np.ndarray:
    """Scores (T, V) or hidden rows of the definition. read: ids of what an encoder reads before."""
    ops, w, memory = StoredOps(context=context), _Stored(source), None
    with np.errstate(all="ignore"):
        if source.spec.encoder is not None:
            memory = memories(ops, source.spec, w, encode(ops, source.spec, w, read, np.arange(len(read))))
        rows = forward(ops, source.spec, w, ids, np.arange(len(ids)), memory)
    w.release()
    return rows


def _computed(
    bundle: Path, ids: list[int], read: list[int], context: int, target: str | None, hidden: bool
) -> np.ndarray:
    """The same of the bundle: in one step where sequences are whole, else a few tokens at a time."""
    prepared = prepare(str(bundle), context=context, target=target, memory_mode="mapped", keep_sums=False)
    n_pages = -(-context // PAGE_TOKENS)
    at_once = _TOKENS if hidden else _ROWS
    executor = NativeExecutor(
        prepared.program, threads=usable_cores(), n_pages=2 * n_pages, max_tokens=_TOKENS, max_outputs=at_once
    )
    try:
        pages, others = list(range(n_pages)), list(range(n_pages, 2 * n_pages))
        if read:
            executor.encode(
                Batch(token_ids=read, positions=[*range(len(read))], sequence=[0] * len(read), block_table=[others])
            )
        rows = np.empty((len(ids), executor.width if hidden else executor.vocab), np.float32)
        for start in range(0, len(ids), at_once):
            some = ids[start : start + at_once]
            n, positions = len(some), [*range(start, start + len(some))]
            batch = Batch(token_ids=some, positions=positions, sequence=[0] * n, block_table=[pages])
            batch.sources = [(others, len(read))] if read else []
            batch.outputs = [Output(row=i) for i in range(n)]
            batch.want_logits, batch.want_hidden = not hidden, hidden
            result = executor.step(batch)
            rows[start : start + n] = result.hidden if hidden else result.logits
        return rows
    finally:
        executor.close()


def report_path(bundle: Path) -> Path:
    """Where the report of a bundle lies: beside it."""
    return bundle.with_name(bundle.stem + ".report.json")


def write_report(report: Report | None, bundle: Path, payload: str) -> None:
    """payload: the hash that says which bundle the report is of. Without a report, an older one of another bundle goes."""
    path = report_path(bundle)
    if report is None:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as file:
        file.write(json.dumps({"payload": payload, **report.to_dict()}, indent=1).encode() + b"\n")


def publishable(report: Report | None, name: str) -> None:
    """Raises VerificationError where a limit was passed."""
    if report is not None and report.beyond:
        raise VerificationError(
            f"{name} compiled with {report.format} is too far from its checkpoint and was not written: {'; '.join(report.beyond)}; "
            "choose a finer format (--weights, --kv), allow more divergence of four-bit formats (--max-kl), or look at it all the "
            "same (--no-verify)"
        )
