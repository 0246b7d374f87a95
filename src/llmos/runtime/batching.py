"""The batch of a step: what the executor is told of the shares of its sequences."""

from collections.abc import Iterable, Iterator

from llmos.runtime.executor import Batch, Output
from llmos.runtime.scheduler import Share
from llmos.runtime.sequence import Sequence

__all__ = ["batch_of"]


def batch_of(shares: Iterable[Share], vocab: int) -> Batch:
    """Tokens, pages and output rows of a step, share after share. vocab: ids of the model, of which stop ids may be barred."""
    batch = Batch()
    for share in shares:
        _add(batch, share, vocab)
    return batch


def _add(batch: Batch, share: Share, vocab: int) -> None:
    sequence, n, drafts = share
    start, request = sequence.n_computed, sequence.request
    first, end = len(batch.token_ids), start + n + len(drafts)
    batch.token_ids += sequence.ids[start : start + n]
    batch.token_ids += drafts
    batch.positions += range(start, end)
    batch.sequence += [len(batch.block_table)] * (end - start)
    batch.block_table.append(sequence.pages)
    if request.source:
        batch.sources.append((sequence.source_pages, len(request.source)))
    if request.score:
        following = sequence.ids[start + 1 : start + n + 1]
        batch.outputs += [Output(row=first + i, score=id) for i, id in enumerate(following)]
    elif request.hidden is not None:
        rows = range(n) if request.hidden != "last" else range(n - 1, n)
        batch.outputs += [Output(row=first + i) for i in rows[: sequence.n_outputs(n)]]
        batch.want_hidden = True
    elif start + n == len(sequence.ids):
        batch.outputs += _draws(sequence, drafts, first + n - 1, vocab)
        batch.n_top = max(batch.n_top, request.n_top)
        batch.want_logprobs |= request.logprobs


def _draws(sequence: Sequence, drafts: tuple[int, ...], row: int, vocab: int) -> Iterator[Output]:
    """What draws the id after those of a sequence, at the given row, and the one after each draft, as if it had been drawn."""
    request, known = sequence.request, len(sequence.ids)
    history = [*sequence.ids, *drafts] if drafts and request.sampling.needs_history else sequence.ids
    for position in range(known, known + len(drafts) + 1):
        sampling = request.sampling_after(position - sequence.n_prompt, vocab)
        seen = history if len(history) <= position else history[:position]
        yield Output(row + position - known, sampling, position, seen, sequence.n_prompt)
