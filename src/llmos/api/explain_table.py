"""The explanation of a model as text: a table for each kind of step, 80 columns for most."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from llmos.api.costs import Line, StepCosts
from llmos.compiler import Graph
from llmos.core.units import format_bytes
from llmos.plan import Roofs

__all__ = ["block_title", "code_lines", "notes", "roof_line", "table"]


def table(graph: Graph, roofs: Roofs, steps: Sequence[StepCosts], unmeasured: str | None) -> str:
    """A line per operation of each block, for each kind of step, with totals, the roofs and the instructions in use."""
    lines = []
    for step in steps:
        lines += [*_step(step), *_totals(step), ""]
    lines.append(roof_line(roofs))
    if unmeasured is not None:
        lines.append(f"not measured: {unmeasured}")
    if graph.encoder is not None:
        lines.append("The encoder, which reads a source once, is not in these tables.")
    lines += code_lines(steps)
    buffers = graph.buffers
    lines.append(
        f"workspace: {buffers['token_bytes']} bytes per token of a step, {buffers['output_bytes']} per output row"
    )
    return "\n".join(lines)


def block_title(line: Line) -> str:
    return f"{line.block}, {line.times} layer{'s' * (line.times != 1)}" if line.block.startswith("kind") else line.block


def _step(step: StepCosts) -> Iterator[str]:
    """Bytes, millions of operations, milliseconds and share of all runs of each operation in a step."""
    width = max(len("weights"), *(len(_weights(line)) for line in step.lines))
    measured = step.step_s is not None
    names = ("measured", "share", "of the roof") if measured else ("", "share", "bound")
    yield f"{step.title}, times in ms"
    yield (
        f"{'operation':<16} {'weights':<{width}} {'read':>8} {'Mop':>7} {'predicted':>9}"
        f"{names[0]:>{10 * measured}} {names[1]:>5} {names[2]}"
    )
    for title, lines in groupby(step.lines, block_title):
        yield title
        for line in lines:
            time = f"{line.seconds * 1e3:>10.4f}" if measured else ""
            roof = "" if line.roof is None else f"{line.roof:>4.0%} "
            yield (
                f"  {line.op:<14} {_weights(line):<{width}} {format_bytes(line.n_bytes):>8} {_short(line.operations / 1e6):>7} "
                f"{line.predicted_s * 1e3:>9.4f}{time} {line.seconds / step.seconds:>5.1%} {roof}{line.bound}"
            )


def _weights(line: Line) -> str:
    return ", ".join(line.params)


def _short(value: float) -> str:
    """Seven characters."""
    return f"{value:.3f}" if value < 1000 else f"{value:.0f}"


def _totals(step: StepCosts) -> Iterator[str]:
    each = step.predicted_s / step.tokens
    yield (
        f"{step.title}: {format_bytes(step.n_bytes)} read and {step.operations / 1e6:.1f} million operations, "
        f"predicted {_milliseconds(each)} per token, {1 / each:.0f} tokens/s"
    )
    if step.step_s is not None:
        yield (
            f"measured {_milliseconds(step.step_s / step.tokens)} per token, {step.tokens / step.step_s:.0f} tokens/s, "
            f"{step.predicted_s / step.step_s:.0%} of the roof"
        )
    yield from notes(step)


def notes(step: StepCosts) -> Iterator[str]:
    """How far the measured times can be trusted."""
    if step.step_s is None or step.noted_s is None or step.measured_s is None:
        return
    yield (
        f"The operations add up to {_milliseconds(step.measured_s)}, {step.measured_s / step.step_s:.1%} of a whole step with Python's "
        f"part ({_milliseconds(step.step_s)}); looking at the clock between them made that {_milliseconds(step.noted_s)}."
    )
    if any(line.roof is not None and line.roof > 1 for line in step.lines):
        yield "Over 100% of the roof: read from a cache, which is faster than memory, or while others left the memory alone."


def roof_line(roofs: Roofs) -> str:
    """What predicts."""
    peaks = ", ".join(f"{format} {roofs.peak(format) / 1e9:.0f}" for format in ("float32", "bf16", "int8"))
    threads = "1 thread" if roofs.threads == 1 else f"{roofs.threads} threads"
    return f"roofs of {roofs.target} with {threads}: memory {roofs.read_bytes_per_s / 1e9:.1f} GB/s; GOP/s: {peaks}"


def code_lines(steps: Sequence[StepCosts]) -> Iterator[str]:
    """The instructions that operations use, and those for which the target has none of its own."""
    used: dict[str, list[str]] = {}
    for line in (line for step in steps[:1] for line in step.lines if line.block != "step"):
        named = used.setdefault(str(line.code), [])
        if line.op not in named:
            named.append(line.op)
    for code, ops in sorted(used.items()):
        yield f"code {code}: {', '.join(ops)}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.4f} ms"
