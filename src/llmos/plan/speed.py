"""Time: the bound that roofs set, and what the measured kernels predict.

A step's time is the sum over its operations, which run one after the other on all threads, and of what Python needs between
two steps. Reading a prompt takes steps of 256 tokens, the last ones with scores; decoding takes a step for each token of every
sequence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmos.plan.operations import Operation, Step
from llmos.plan.roofs import Kernels, Roofs
from llmos.plan.running import MAX_TOKENS, PAGE_TOKENS
from llmos.weights import packed_bytes

__all__ = ["Pace", "bound_s", "compute_s", "decode_step", "memory_s", "pace", "predicted_s", "prompt_steps"]

_ROW_KINDS = {"act": "act", "gated_act": "act", "gated_linear": "act"}  # all else costs as a norm does


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Tokens per second of all sequences together, and what bounds each: memory, compute, or waiting (of threads, for Python)."""

    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    prefill_bound: str
    decode_bound: str


def prompt_steps(prompt: int, batch: int) -> list[Step]:
    """The steps that read `batch` prompts of `prompt` tokens, one prompt after the other in steps of 256 tokens."""
    steps = []
    for start in range(0, prompt * batch, MAX_TOKENS):
        stop = min(start + MAX_TOKENS, prompt * batch)
        attended = (_attended(stop, prompt) - _attended(start, prompt)) / (stop - start)
        outputs, begun = stop // prompt - start // prompt, -(-stop // prompt) - start // prompt
        steps.append(Step(tokens=stop - start, outputs=outputs, attended=attended, sequences=begun))
    return steps


def _attended(n_tokens: int, prompt: int) -> int:
    """What the first n_tokens of prompts in a row attend to, all together."""
    whole, rest = divmod(n_tokens, prompt)
    return whole * prompt * (prompt + 1) // 2 + rest * (rest + 1) // 2


def decode_step(attended: float, batch: int) -> Step:
    """A step in which every sequence draws a token that attends to `attended` others and itself."""
    return Step(tokens=batch, outputs=batch, attended=attended, sequences=batch)


def bound_s(operation: Operation, step: Step, roofs: Roofs) -> float:
    """The least time of one run of an operation: its bytes through memory or its arithmetic at the peak, the longer of both."""
    return max(memory_s(operation, step, roofs), compute_s(operation, step, roofs))


def memory_s(operation: Operation, step: Step, roofs: Roofs) -> float:
    return operation.n_bytes(step) / roofs.read_bytes_per_s


def compute_s(operation: Operation, step: Step, roofs: Roofs) -> float:
    return sum(count / roofs.peak(format) for format, count in operation.arithmetic(step))


def predicted_s(operation: Operation, step: Step, kernels: Kernels, in_cache: float) -> float:
    """Seconds of one run of an operation. in_cache: share of the model's weights that the last cache holds."""
    rows = operation.n_rows(step)
    if rows == 0:
        return 0.0
    waits = operation.joins * kernels.join_s
    shared = -(-rows // kernels.threads)  # rows of the busiest thread
    if operation.kind == "attention":
        pages = operation.attended(step) / PAGE_TOKENS + 0.5
        tiles = -(-rows * operation.kv_heads // kernels.threads)
        each = operation.heads // operation.kv_heads * kernels.attention_s(operation.head_dim, pages)
        turned = shared * operation.kv_heads * kernels.append_s(operation.head_dim)
        fetched = (
            operation.n_bytes(step) - operation.vectors
        )  # by all threads together, once for the queries that share it
        return waits + turned + tiles * each + (1 - in_cache) * fetched * kernels.stored_s / kernels.threads
    if operation.kind == "rows":
        return waits + shared * operation.width * _value_s(operation, kernels)
    matrices = operation.n_matrices(step)
    tokens = max(1, round(rows * operation.per_token / matrices))
    seconds = 0.0
    for (n_rows, columns), format in zip(operation.shapes, operation.formats, strict=True):
        n_bytes = packed_bytes(n_rows, columns, format)
        seconds += matrices * kernels.product_s(n_bytes, columns, tokens, in_cache)
    if operation.op == "gated_linear":
        seconds += shared * operation.width * _value_s(operation, kernels)
    return waits + seconds


def _value_s(operation: Operation, kernels: Kernels) -> float:
    """Seconds of one thread for a value of a row; rounding to eight bits costs as much whichever operation does it."""
    rounding = kernels.row_s["quantize"] if operation.made.startswith("int8") else 0.0
    if operation.op == "quantize":
        return rounding or kernels.row_s["norm"]
    return rounding + kernels.row_s[_ROW_KINDS.get(operation.op, "norm")]


def pace(
    operations: Sequence[Operation],
    roofs: Roofs,
    kernels: Kernels,
    *,
    prompt: int,
    context: int,
    batch: int,
    vocab: int,
) -> Pace:
    """How fast `batch` prompts of `prompt` tokens are read, and how fast their contexts are filled afterwards."""
    steps, decode = prompt_steps(prompt, batch), decode_step((prompt + context) / 2, batch)
    read_s = sum(
        _step_s(operations, step, kernels, vocab) + kernels.prompt_s * step.tokens / MAX_TOKENS for step in steps
    )
    decode_s = _step_s(operations, decode, kernels, vocab) + kernels.decode_s
    return Pace(
        prefill_tokens_per_s=prompt * batch / read_s,
        decode_tokens_per_s=batch / decode_s,
        prefill_bound=_bound(operations, steps, roofs, read_s),
        decode_bound=_bound(operations, [decode], roofs, decode_s),
    )


def _step_s(operations: Sequence[Operation], step: Step, kernels: Kernels, vocab: int) -> float:
    in_cache = kernels.in_cache(sum(o.times * o.n_bytes(step) for o in operations))
    drawing = -(-step.outputs // kernels.threads) * vocab * kernels.row_s["draw"]
    return drawing + sum(o.times * predicted_s(o, step, kernels, in_cache) for o in operations)


def _bound(operations: Sequence[Operation], steps: Sequence[Step], roofs: Roofs, seconds: float) -> str:
    """Memory or compute, whichever the longer part of the bound comes from; waiting where the bound is under a third of the time."""

    def total(least: Callable[[Operation, Step, Roofs], float]) -> float:
        return sum(o.times * least(o, step, roofs) for step in steps for o in operations)

    if total(bound_s) < seconds / 3:
        return "waiting"
    return "memory" if total(memory_s) > total(compute_s) else "compute"
