"""Memory of a model that is loaded and runs, and of one that is compiled into a bundle.

Packing goes through the checkpoint in a stream: a few pieces of it are there at a time, for each thread, and what was read is let
go of. What is rounded is packed into a file, which is read into memory of its own then, or mapped; the rest into memory at once.
What runs are weights, keys and values, workspace and rope tables. Arenas lie in huge pages, so what is touched of them counts in
steps of 2 MiB.
"""

from dataclasses import dataclass

from llmos.plan.footprint import Footprint, Part, Phase

__all__ = [
    "PAGE_TOKENS",
    "VERIFIED_ROWS",
    "VERIFIED_TOKENS",
    "Sizes",
    "compiling",
    "context_bytes",
    "packing",
    "running",
    "step_rows",
    "workspace_bytes",
]

PAGE_TOKENS = 32  # positions of a page of keys and values; a test holds it to the step ABI
MAX_TOKENS, MAX_OUTPUTS = 256, 64  # of a step, as `NativeExecutor` has them by default
DRAFTED_ROWS = 16  # most rows of a step with guessed tokens; a sequence alone has half of them (runtime.drafting)
_HUGE = 2 * 2**20
_PACKED_AT_ONCE = 16 * 2**20  # float32 values that a packing thread holds of a matrix that is stored in another format
_READ_AT_ONCE = (
    8 * 2**20
)  # bytes of a checkpoint in a piece of 4 million values, of bfloat16; pages are let go of after 8 of them
_RELEASED_AFTER = 8
_COPIED_AT_ONCE = 16 * 2**20
# Tokens of a verification, and how many rows of scores it computes at once; a test holds them to api.verify.
VERIFIED_TOKENS, VERIFIED_ROWS = 128, 32
_VERIFIER = 60 * 2**20  # numpy's buffers, tokenizer, library: measured on the shape of Qwen2.5-0.5B
_DEFINED_AT_ONCE = 2 * 32 * 2**20  # float32 values of a matrix for the definition (ops.stored_ops), and the next ones
_TABLE_POSITIONS = 1 << 14  # rope tables are computed in double for so many positions at a time (api.assemble)
_CODE = 3 * 2**20  # engine, batch arrays and the library: the difference measured on llmos-mini
_COMPILER = (
    250 * 2**20
)  # clang in the package ziglang: 245 MiB where a target's start-up code is built too, 136 MiB after


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a compiled model is made of, in bytes, as the compiler lays it out and the checkpoint stores it.

    weights: packed; source: of the checkpoint's tensors that are mapped to be packed, 0 for a bundle; streamed: they are packed into a
    file first; matrix: of the largest matrix as the checkpoint stores it, piece: of one on average; converted: of the largest
    matrix in float32 where the stored format must be converted first, else 0; page: of keys and values of PAGE_TOKENS tokens in
    all layers, with those of a source for a model with an encoder, which lie in `tables` pages of the pool; rope: of the tables for
    one position; token, output: of the workspace for a token and an output row of a step. vocab: 0 for a model without an output head; whole: it computes a sequence, or the source of one, in one step.
    """

    weights: int
    source: int
    converted: int
    page: int
    rope: int
    token: int
    output: int
    vocab: int
    whole: bool = False
    tables: int = 1
    streamed: bool = False
    matrix: int = 0
    piece: int = _READ_AT_ONCE


def workspace_bytes(sizes: Sizes, max_tokens: int = MAX_TOKENS, max_outputs: int = MAX_OUTPUTS) -> int:
    """Size of the workspace: `WorkspaceBytes` of native/include/llmos/call.h."""
    return max_tokens * sizes.token + max_outputs * (sizes.output + _draw_bytes(sizes.vocab))


def step_rows(sizes: Sizes, context: int) -> tuple[int, int]:
    """Most tokens and most output rows of a step: what computes a sequence in one step must have room for the longest."""
    tokens = max(MAX_TOKENS, context) if sizes.whole else MAX_TOKENS
    return tokens, MAX_OUTPUTS if sizes.vocab else tokens


def context_bytes(sizes: Sizes, context: int) -> int:
    """Keys and values of one sequence of `context` tokens."""
    return -(-context // PAGE_TOKENS) * sizes.page


def running(
    sizes: Sizes,
    *,
    held_bytes: int,
    context: int,
    batch: int,
    threads: int,
    pool_bytes: int | None = None,
    mapped: bool = False,
) -> Footprint:
    """Loading, then `batch` sequences that fill their contexts.

    pool_bytes: size of the pool of keys and values where all of it comes into use, as it does in a process that serves for long
    (pages of what has ended are kept for those who begin alike); None: only what the sequences use. mapped: weights stay in their
    file.
    """
    kv = context_bytes(sizes, context) * batch
    pool = kv if pool_bytes is None else max(kv, pool_bytes)
    rope = Part(name="rope tables", n_bytes=sizes.rope * context)
    weights = Part(name="weights", n_bytes=sizes.weights if mapped else _touched(sizes.weights), mapped=mapped)
    code = Part(name="code and engine", n_bytes=_CODE)
    tables = Part(name="angles in double", n_bytes=3 * sizes.rope * min(context, _TABLE_POSITIONS))
    packing = _packing(sizes, threads)
    loading = (rope, *packing) if sizes.streamed or mapped else (rope, weights, *packing)
    steps = (
        rope,
        weights,
        Part(name="keys and values", n_bytes=_touched(pool)),
        _workspace(sizes, context, batch),
        code,
    )
    phases = (
        Phase(name="making tables", parts=(rope, tables)),
        Phase(name="loading", parts=loading),
        Phase(name="running", parts=steps),
    )
    return Footprint(held_bytes=held_bytes, phases=phases)


def compiling(sizes: Sizes, *, held_bytes: int, threads: int) -> Footprint:
    """The compiler, a process of its own, then packing into a file, the bundle as a copy of that, and comparing it."""
    compiler = Phase(name="compiling", parts=(Part(name="C++ compiler", n_bytes=_COMPILER),))
    phases = packing(sizes, held_bytes=held_bytes, threads=threads).phases
    return Footprint(held_bytes=held_bytes, phases=(compiler, *phases, *_verifying(sizes)))


def packing(sizes: Sizes, *, held_bytes: int, threads: int) -> Footprint:
    """What of compiling is left where the code is in the cache and nothing is compared."""
    copied = Part(name="copied", n_bytes=threads * min(sizes.weights, _COPIED_AT_ONCE))
    phases = (Phase(name="packing", parts=_packing(sizes, threads)), Phase(name="writing", parts=(copied,)))
    return Footprint(held_bytes=held_bytes, phases=phases)


def _verifying(sizes: Sizes) -> tuple[Phase, ...]:
    """The checkpoint's forward pass a block of rows at a time, then the bundle's, whose weights stay in their file."""
    scores, rows = VERIFIED_TOKENS * 4 * sizes.vocab, VERIFIED_ROWS if sizes.vocab else VERIFIED_TOKENS
    held = Part(name="libraries and their buffers", n_bytes=_VERIFIER)
    defining = (
        held,
        Part(name="matrix of the checkpoint", n_bytes=sizes.matrix, mapped=True),
        Part(name="its values", n_bytes=_DEFINED_AT_ONCE),
        Part(name="scores", n_bytes=2 * scores),  # made of blocks
    )
    workspace = workspace_bytes(sizes, VERIFIED_TOKENS, rows)
    running = (
        held,
        Part(name="weights", n_bytes=sizes.weights, mapped=True),
        Part(name="scores", n_bytes=2 * scores + rows * 4 * sizes.vocab),
        Part(name="workspace", n_bytes=_touched(workspace - rows * _draw_bytes(sizes.vocab)), reserved=workspace),
        Part(name="keys and values", n_bytes=_touched(context_bytes(sizes, VERIFIED_TOKENS))),
    )
    return Phase(name="verifying: definition", parts=defining), Phase(name="verifying: result", parts=running)


def _packing(sizes: Sizes, threads: int) -> tuple[Part, ...]:
    converted = threads * min(sizes.converted, _PACKED_AT_ONCE)
    read = min(sizes.source, (_RELEASED_AFTER + 2 * threads + 1) * min(sizes.piece, _READ_AT_ONCE))
    return Part(name="checkpoint", n_bytes=read, mapped=True), Part(name="conversion", n_bytes=converted)


def _workspace(sizes: Sizes, context: int, batch: int) -> Part:
    """Rows of all tokens of a step are used by a prompt; of the scores and of what drawing needs, a row per sequence and
    per guessed token."""
    max_tokens, max_outputs = step_rows(sizes, context)
    whole = workspace_bytes(sizes, max_tokens, max_outputs)
    scores = 4 * sizes.vocab
    rows = min(max(batch, DRAFTED_ROWS if batch > 1 else DRAFTED_ROWS // 2), max_outputs)
    used = max_tokens * sizes.token + max_outputs * max(0, sizes.output - scores)
    used += rows * (scores + _draw_bytes(sizes.vocab))
    return Part(name="workspace", n_bytes=min(_touched(used), whole), reserved=whole)


def _draw_bytes(vocab: int) -> int:
    """`DrawBytes` of native/include/llmos/call.h: a bit for each id that a penalty has met, and the scores kept meanwhile."""
    return _rounded(-(-vocab // 8), 64) + _rounded(4 * vocab, 64)


def _touched(n_bytes: int) -> int:
    """Bytes of whole huge pages."""
    return _rounded(n_bytes, _HUGE)


def _rounded(n: int, unit: int) -> int:
    return -(-n // unit) * unit
