"""What a step of a model does, operation by operation, as plain data, and what it costs in bytes and arithmetic."""

from dataclasses import dataclass
from typing import Literal

from llmos.plan.running import PAGE_TOKENS
from llmos.weights import packed_bytes

__all__ = ["Operation", "Step"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call of a compiled model. tokens in it; outputs: rows of scores; attended: tokens that one attends to, on average.

    sequences: whose keys and values are read.
    """

    tokens: int
    outputs: int
    attended: float
    sequences: int = 1


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of a block, which `times` layers have. rows: T runs for every token of a step, O for every output.

    kind: product (matrix of `shape`), experts (matrices of `shapes`, `count` of each, of which a token needs `per_token`),
    attention, or rows (`width` values of each row). formats: of the matrices. vectors: bytes of scales and biases. joins: how often
    the threads wait for each other. stored: format of keys and values, which attention is computed in; made: of the rows that it writes.
    """

    block: str
    times: int
    op: str
    kind: Literal["product", "experts", "attention", "rows"]
    rows: str
    width: int
    params: tuple[str, ...] = ()
    vectors: int = 0
    shapes: tuple[tuple[int, int], ...] = ()
    formats: tuple[str, ...] = ()
    count: int = 1
    per_token: int = 1
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    window: int | None = None
    kv_page_bytes: int = 0
    stored: str = "float32"
    made: str = "float32"
    joins: int = 1

    def n_rows(self, step: Step) -> int:
        return step.tokens if self.rows == "T" else step.outputs

    def attended(self, step: Step) -> float:
        return min(step.attended, self.window or step.attended)

    def n_matrices(self, step: Step) -> float:
        """Matrices of each shape that are read: of experts those that some token needs, if each chooses at random."""
        rows = self.n_rows(step)
        return self.count * (1 - (1 - self.per_token / self.count) ** rows) if self.kind == "experts" else 1

    def n_bytes(self, step: Step) -> float:
        """Weights, and stored keys and values, that one run reads. The rows of an embedding table are not counted."""
        if self.n_rows(step) == 0:
            return 0
        matrices = sum(packed_bytes(*shape, format) for shape, format in zip(self.shapes, self.formats, strict=True))
        stored = step.sequences * self.attended(step) * self.kv_page_bytes / PAGE_TOKENS
        return self.vectors + self.n_matrices(step) * matrices + stored

    def operations(self, step: Step) -> float:
        """Multiplications and additions of one run. An elementwise operation counts one for each value."""
        return sum(count for _, count in self.arithmetic(step))

    def arithmetic(self, step: Step) -> list[tuple[str, float]]:
        """The same by the formats that they are done in."""
        rows = self.n_rows(step)
        if self.kind == "attention":
            format = "bf16" if self.stored == "bf16" else "float32"
            return [(format, rows * 4 * self.attended(step) * self.heads * self.head_dim)]
        if self.kind == "rows":
            return [("float32", rows * self.width)]
        each = zip(self.shapes, self.formats, strict=True)
        return [(format, rows * self.per_token * 2 * n * k) for (n, k), format in each]
