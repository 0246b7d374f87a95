"""`compile --explain`: what every operation of a compiled model costs, predicted by the roofs and measured on its own code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmos.api.costs import StepCosts, prefill_step, step_costs
from llmos.api.explain_page import page
from llmos.api.explain_table import table
from llmos.api.prepare import prepare
from llmos.api.roofs import higher, measure_roofs
from llmos.api.step_times import OperationTimes, measure_steps
from llmos.compiler import TARGETS, Graph, Target, compile_code
from llmos.core.errors import ResourceError
from llmos.core.files import atomic_write
from llmos.native import include_dir, sources_hash
from llmos.plan import Roofs, decode_step

__all__ = ["Explanation", "explain_bundle", "explain_graph"]

_PROMPT_TOKENS = 512  # what prefill is told for, and what a decoded token stands behind


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a model costs. steps: decode and prefill, or a text; unmeasured: why nothing was run, None where it was.

    `str` gives the table, `to_dict` plain data, `page` a picture.
    """

    name: str
    graph: Graph
    roofs: Roofs
    steps: tuple[StepCosts, ...]
    unmeasured: str | None

    def __str__(self) -> str:
        return table(self.graph, self.roofs, self.steps, self.unmeasured)

    def to_dict(self) -> dict[str, Any]:
        """Bytes, operations per second, and seconds."""
        roofs = {name: value for name, value in vars(self.roofs).items() if name not in ("target", "threads")}
        return {
            "model": self.name,
            "target": self.roofs.target,
            "threads": self.roofs.threads,
            "weights": self.graph.facts["weights"],
            "kv": self.graph.facts["kv"],
            "roofs": roofs,
            "unmeasured": self.unmeasured,
            "steps": [step.to_dict() for step in self.steps],
        }

    def page(self) -> str:
        """One HTML document that needs nothing else: bars, the graph, and the table."""
        return page(self.name, self.graph, self.roofs, self.steps, self.unmeasured)

    def write_page(self, path: Path) -> None:
        """Write `page` to a file. Raises UserError where that cannot be done."""
        with atomic_write(path) as file:
            file.write(self.page().encode())


def explain_bundle(
    bundle: Path,
    name: str,
    graph: Graph,
    target: Target,
    roofs: Roofs | None = None,
    *,
    context: int,
    progress: Callable[[str], None] | None = None,
) -> Explanation:
    """The explanation of a bundle with measured times; without them where roofs are of another target or memory is short.

    roofs: None measures them before and after the bundle's steps, and takes the higher ones: a shared machine's memory is not
    always as fast.
    """
    facts: dict[str, Any] = {"context": context, "name": name}
    if roofs is not None and roofs.target != target.name:
        why = f"the roofs are of {roofs.target}, the code is for {target.name}"
        return explain_graph(graph, roofs, unmeasured=why, **facts)
    found = roofs or measure_roofs(progress, target=target.name)
    try:
        times = _measured(bundle, graph, target, found.threads, _prompt(context), progress)
    except ResourceError as error:
        return explain_graph(graph, found, unmeasured=str(error), **facts)
    if roofs is None:
        found = higher(found, measure_roofs(progress, target=target.name, threads=found.threads))
    return explain_graph(graph, found, times=times, unmeasured=None, **facts)


def explain_graph(
    graph: Graph,
    roofs: Roofs,
    *,
    context: int,
    name: str = "model",
    times: Mapping[str, OperationTimes] | None = None,
    unmeasured: str | None = "nothing was run",
) -> Explanation:
    """The explanation of a planned graph. context: the model's; times: by kind of step, where they were measured."""
    prompt, target, times = _prompt(context), TARGETS[roofs.target], times or {}
    steps = []
    if graph.facts["head"]:
        found = _facts(times.get("decode"))
        steps.append(step_costs("decode", graph, decode_step(prompt + 1, 1), roofs, target, after=prompt, **found))
    if prompt:
        kind = "prefill" if graph.facts["head"] else "text"
        steps.append(step_costs(kind, graph, prefill_step(graph, prompt), roofs, target, **_facts(times.get(kind))))
    return Explanation(name=name, graph=graph, roofs=roofs, steps=tuple(steps), unmeasured=unmeasured)


def _prompt(context: int) -> int:
    return min(_PROMPT_TOKENS, context - 1)


def _facts(times: OperationTimes | None) -> dict[str, Any]:
    return {} if times is None else vars(times)


def _measured(
    bundle: Path, graph: Graph, target: Target, threads: int, prompt: int, progress: Callable[[str], None] | None
) -> dict[str, OperationTimes]:
    if prompt == 0:
        return {}
    prepared = prepare(str(bundle), context=prompt + 1, threads=threads, target=target.name, batch=2)
    timed = compile_code(
        graph, target, include=include_dir(), kernels_hash=sources_hash(), timed=True, progress=progress
    )
    if progress:
        progress("measuring every operation")
    return measure_steps(
        replace(prepared.program, context=prompt + 1),
        timed,
        n_parts=2 + sum(len(block.nodes) for _, block in graph.blocks()),
        threads=threads,
        prompt=prompt,
        speaks=bool(graph.facts["head"]),
    )
