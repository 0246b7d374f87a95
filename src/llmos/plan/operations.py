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
    attention, or rows (`width` values of each row). format: of the matrix. vectors: bytes of scales and biases. joins: how often
    the threads wait for each other.
    """

    block: str
    times: int
    op: str
    kind: Literal["product", "experts", "attention", "rows"]
    rows: str
    width: int
    params: tuple[str, ...] = ()
    format: str = "float32"
    vectors: int = 0
    shapes: tuple[tuple[int, int], ...] = ()
    count: int = 1
    per_token: int = 1
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    window: int | None = None
    kv_page_bytes: int = 0
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
        matrices = sum(packed_bytes(rows, columns, self.format) for rows, columns in self.shapes)
        stored = step.sequences * self.attended(step) * self.kv_page_bytes / PAGE_TOKENS
        return self.vectors + self.n_matrices(step) * matrices + stored

    def operations(self, step: Step) -> float:
        """Multiplications and additions of one run. An elementwise operation counts one for each value."""
        rows = self.n_rows(step)
        if self.kind == "attention":
            return rows * 4 * self.attended(step) * self.heads * self.head_dim
        if self.kind == "rows":
            return rows * self.width
        return rows * self.per_token * sum(2 * rows * columns for rows, columns in self.shapes)

    @property
    def peak_format(self) -> str:
        return self.format if self.kind in ("product", "experts") else "float32"
