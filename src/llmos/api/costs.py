"""What the operations of a model cost in a step: bytes, arithmetic, the time that the roofs allow and the time that was measured.

An operation cannot be faster than its bytes through memory or its arithmetic at the peak of its number format; the larger of
the two is its predicted time, and which one it is says what would make it faster. The prediction is a bound: it knows no
caches (a model that fits into the last one may beat it) and no cost of threads that meet. Small elementwise operations are
charged the float32 peak, their values are taken to stay in a cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmos.api.operations import node_operations
from llmos.compiler import Graph, Implementation, Target, implementation
from llmos.compiler.graph import Node
from llmos.plan import Operation, Roofs, Step, bound_s, compute_s, decode_step, memory_s

__all__ = ["Cost", "Line", "StepCosts", "decode_costs", "prefill_seconds", "prefill_step", "step_costs"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One operation of a block in a step, and how often it runs."""

    operation: Operation
    node: Node
    step: Step

    @property
    def block(self) -> str:
        return self.operation.block

    @property
    def times(self) -> int:
        return self.operation.times

    @property
    def n_bytes(self) -> int:
        """Weights, and stored keys and values, that one run must read. The rows of an embedding table are not counted."""
        return int(self.operation.n_bytes(self.step))

    @property
    def operations(self) -> int:
        """Multiplications and additions of one run."""
        return int(self.operation.operations(self.step))

    def memory_s(self, roofs: Roofs) -> float:
        return memory_s(self.operation, self.step, roofs)

    def compute_s(self, roofs: Roofs) -> float:
        return compute_s(self.operation, self.step, roofs)

    def bound(self, roofs: Roofs) -> str:
        """What keeps it from being faster: memory or compute."""
        return "memory" if self.memory_s(roofs) > self.compute_s(roofs) else "compute"

    def seconds(self, roofs: Roofs) -> float:
        """Predicted time of all its runs in a step."""
        return self.times * bound_s(self.operation, self.step, roofs)


@dataclass(frozen=True, kw_only=True)
class Line:
    """All runs of an operation in a step. code: what computes it; measured_s: None where nothing was run."""

    block: str
    times: int
    op: str
    params: tuple[str, ...]
    code: Implementation
    n_bytes: int
    operations: int
    bound: str
    predicted_s: float
    measured_s: float | None

    @property
    def roof(self) -> float | None:
        """Share of the roof that was reached; above 1 where a cache helped."""
        return self.predicted_s / self.measured_s if self.measured_s else None

    @property
    def seconds(self) -> float:
        """What was measured, else what is predicted."""
        return self.predicted_s if self.measured_s is None else self.measured_s


@dataclass(frozen=True, kw_only=True)
class StepCosts:
    """One kind of step. name: decode, prefill, or text for a model without scores; tokens: computed in it; after: those before them.

    step_s: what the step takes without a look at the clock between its operations, noted_s: with it; None where nothing was run.
    """

    name: str
    tokens: int
    after: int
    lines: tuple[Line, ...]
    step_s: float | None
    noted_s: float | None

    @property
    def title(self) -> str:
        if self.name == "decode":
            return f"decode after {self.after} tokens"
        return f"{'prefill' if self.name == 'prefill' else 'a text'} of {self.tokens} tokens"

    @property
    def n_bytes(self) -> int:
        return sum(line.n_bytes for line in self.lines)

    @property
    def operations(self) -> int:
        return sum(line.operations for line in self.lines)

    @property
    def predicted_s(self) -> float:
        return sum(line.predicted_s for line in self.lines)

    @property
    def measured_s(self) -> float | None:
        """The sum of the operations."""
        return None if self.step_s is None else sum(line.seconds for line in self.lines)

    @property
    def seconds(self) -> float:
        return sum(line.seconds for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; times in seconds, of all runs in a step."""
        return {
            "step": self.name,
            "tokens": self.tokens,
            "after": self.after,
            "bytes": self.n_bytes,
            "operations": self.operations,
            "predicted_s": self.predicted_s,
            "measured_s": self.measured_s,
            "step_s": self.step_s,
            "step_with_clock_s": self.noted_s,
            "table": [_line_dict(line) for line in self.lines],
        }


def _line_dict(line: Line) -> dict[str, Any]:
    return {
        "block": line.block,
        "times": line.times,
        "operation": line.op,
        "weights": list(line.params),
        "code": line.code.instructions,
        "portable": line.code.portable,
        "bytes": line.n_bytes,
        "operations": line.operations,
        "bound": line.bound,
        "predicted_s": line.predicted_s,
        "measured_s": line.measured_s,
        "roof_share": line.roof,
    }


def step_costs(
    name: str,
    graph: Graph,
    step: Step,
    roofs: Roofs,
    target: Target,
    *,
    after: int = 0,
    parts: Sequence[float] | None = None,
    step_s: float | None = None,
    noted_s: float | None = None,
) -> StepCosts:
    """The costs of a step. parts, step_s, noted_s: measured, as `OperationTimes` has them."""
    costs = [Cost(operation=operation, node=node, step=step) for operation, node in node_operations(graph)]
    costs += [_outside(op, graph, step) for op in ("draw", "threads")]
    measured = [None] * len(costs) if parts is None else parts
    return StepCosts(
        name=name,
        tokens=step.tokens,
        after=after,
        lines=tuple(_line(cost, roofs, target, graph.facts["kv"], s) for cost, s in zip(costs, measured, strict=True)),
        step_s=step_s,
        noted_s=noted_s,
    )


def _line(cost: Cost, roofs: Roofs, target: Target, kv: str, measured_s: float | None) -> Line:
    return Line(
        block=cost.block,
        times=cost.times,
        op=cost.node.op,
        params=cost.node.params,
        code=implementation(target, cost.node, kv),
        n_bytes=cost.times * cost.n_bytes,
        operations=cost.times * cost.operations,
        bound=cost.bound(roofs),
        predicted_s=cost.seconds(roofs),
        measured_s=measured_s,
    )


def _outside(op: str, graph: Graph, step: Step) -> Cost:
    """What no node of the graph is. draw: what is done with scores; threads: waking them, and waiting for their end."""
    width = graph.facts["vocab"] if op == "draw" and graph.facts["head"] else 0
    node = Node(op=op, out="%none", inputs=(), rows="O", width=width)
    return Cost(
        operation=Operation(block="step", times=1, op=op, kind="rows", rows="O", width=width), node=node, step=step
    )


def decode_costs(graph: Graph, attended: float) -> list[Cost]:
    """What decoding one token costs that attends to `attended` tokens, itself among them."""
    step = decode_step(attended, 1)
    return [Cost(operation=operation, node=node, step=step) for operation, node in node_operations(graph)]


def prefill_step(graph: Graph, n_tokens: int) -> Step:
    """A prompt in one step, with scores for its last token; of a model without scores a text whose hidden rows are all wanted."""
    speaks = graph.facts["head"]
    attended = (n_tokens + 1) / 2 if speaks else n_tokens  # on average over the prompt
    return Step(tokens=n_tokens, outputs=1 if speaks else n_tokens, attended=attended)


def prefill_seconds(graph: Graph, roofs: Roofs, n_tokens: int) -> float:
    """Predicted time of a prompt of `n_tokens` in one step: weights are read once, scores are computed for the last token."""
    step = prefill_step(graph, n_tokens)
    return sum(operation.times * bound_s(operation, step, roofs) for operation, _ in node_operations(graph))
