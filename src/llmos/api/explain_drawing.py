"""Pictures of an explanation as SVG: the bar of an operation, and the graph with the share of time of each node.

Colours are classes of the page's style sheet, so that they follow its light and dark. A block of the graph is a column of nodes in
the order in which they run; a value that another than the next node reads goes round those between, in a lane of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby

from llmos.api.costs import Line, StepCosts
from llmos.compiler import Graph
from llmos.compiler.graph import Block, Node

__all__ = ["bar", "drawing"]

_MARGIN, _WIDTH, _HEIGHT, _GAP, _LANE, _HEAD = 20, 560, 44, 20, 14, 44
_ROW = _HEIGHT + _GAP


def bar(line: Line, longest_s: float) -> str:
    """The time of an operation, and a mark where the roof is. It repeats what the table says in numbers."""
    length, roof = (98 * s / longest_s for s in (line.seconds, line.predicted_s))  # room for the mark of the longest
    if line.measured_s is None:
        kind, mark = "guess", ""
    else:
        kind, mark = "time", f'<rect class="roof" x="{roof:.2f}%" y="1" width="3" height="18"/>'
    return (
        '<svg class="bar" aria-hidden="true" width="100%" height="20">'
        f'<rect class="{kind}" x="0" y="4" width="{length:.2f}%" height="12"/>{mark}</svg>'
    )


def drawing(graph: Graph, step: StepCosts) -> str:
    """The graph as one SVG. Each node has its share of the step's time, of all the layers of its kind together."""
    lines = {block: list(group) for block, group in groupby(step.lines, lambda line: line.block)}
    columns = [
        _Column(name=name, block=block, lines=lines[name], layers=_layers(graph, name), step_s=step.seconds)
        for name, block in graph.blocks()
    ]
    width = 2 * _MARGIN + _WIDTH + _LANE * (1 + max(column.n_lanes for column in columns))
    body, top = [], 0
    for column in columns:
        if top:
            body.append(_arrow(width / 2, top - _GAP - 8, top - 1))
        body.append(f'<g transform="translate(0 {top})">{column.svg(width)}</g>')
        top += column.height + _GAP + 8
    height = top - _GAP - 8
    told = " ".join(column.told() for column in columns)
    return (
        f'<svg class="graph" role="img" aria-labelledby="graph-title graph-about" viewBox="-1 -1 {width + 2} {height + 2}" '
        f'width="{width + 2}" height="{height + 2}">\n<title id="graph-title">The graph of the compiled model</title>\n'
        f'<desc id="graph-about">{escape(told)}</desc>\n' + "\n".join(body) + "\n</svg>"
    )


def _layers(graph: Graph, name: str) -> int | None:
    return graph.layers.count(int(name.removeprefix("kind"))) if name.startswith("kind") else None


@dataclass(frozen=True, kw_only=True)
class _Way:
    """A value that goes round nodes: the row where it is made, those where it is read, and its lane."""

    start: int
    stops: tuple[int, ...]
    lane: int


@dataclass(frozen=True, kw_only=True)
class _Column:
    """One block. Row 0 is what it reads, where it reads anything; each node has the next row. layers: of its kind."""

    name: str
    block: Block
    lines: list[Line]
    layers: int | None
    step_s: float

    @property
    def rows(self) -> dict[str, int]:
        enters = {"%x": 0} if self.name != "prologue" else {}
        return enters | {node.out: i + len(enters) for i, node in enumerate(self.block.nodes)}

    @property
    def height(self) -> int:
        return _HEAD + len(self.rows) * _ROW

    @property
    def n_lanes(self) -> int:
        return 1 + max((way.lane for way in self._ways()), default=-1)

    @property
    def title(self) -> str:
        if self.layers is None:
            return self.name
        return f"{self.name}, {self.layers} layer{'s' * (self.layers != 1)} with the same code"

    def told(self) -> str:
        """The same in words, for those who do not see it."""
        nodes = (f"{n.out} is {n.op} of {', '.join([*n.inputs, *n.params]) or 'the tokens'}" for n in self.block.nodes)
        return f"{self.title}: {'; '.join(nodes)}."

    def svg(self, width: int) -> str:
        rows = self.rows
        boxes = [_input()] if "%x" in rows else []
        for node, line in zip(self.block.nodes, self.lines, strict=False):
            boxes.append(_box(node, line, line.seconds / self.step_s, _top(rows[node.out])))
            if any(rows[value] == rows[node.out] - 1 for value in node.inputs):
                boxes.append(_arrow(_MARGIN + _WIDTH / 2, _top(rows[node.out]) - _GAP, _top(rows[node.out])))
        return (
            f'<rect class="block" x="0" y="0" width="{width}" height="{self.height}" rx="8"/>'
            f'<text class="name" x="{_MARGIN}" y="27">{escape(self.title)}</text>'
            + "".join(boxes)
            + "".join(map(_round, self._ways()))
        )

    def _ways(self) -> Iterator[_Way]:
        """Each in the first lane that is free."""
        rows, free = self.rows, list[int]()  # free: the row from which on a lane is
        for value, start in sorted(rows.items(), key=lambda item: item[1]):
            stops = tuple(rows[n.out] for n in self.block.nodes if value in n.inputs and rows[n.out] > start + 1)
            if stops:
                lane = next((i for i, until in enumerate(free) if until <= start), len(free))
                free[lane : lane + 1] = [stops[-1]]
                yield _Way(start=start, stops=stops, lane=lane)


def _top(row: int) -> int:
    return _HEAD + row * _ROW


def _input() -> str:
    y = _top(0) + _HEIGHT - 20
    return (
        f'<rect class="input" x="{_MARGIN}" y="{y}" width="{_WIDTH}" height="20" rx="4"/>'
        f'<text class="small" x="{_MARGIN + 10}" y="{y + 14}">%x, from the block before</text>'
    )


def _box(node: Node, line: Line, share: float, y: int) -> str:
    what = escape(f"{node.op} {', '.join(node.params)}".strip())
    shape = escape(f"{node.out}: {node.dtype}[{node.rows}, {node.width}]   {line.code}")
    return (
        f'<rect class="node" x="{_MARGIN}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="4"/>'
        f'<rect class="time" x="{_MARGIN}" y="{y + _HEIGHT - 5}" width="{_WIDTH * min(share, 1):.1f}" height="5"/>'
        f'<text x="{_MARGIN + 10}" y="{y + 17}">{what}</text>'
        f'<text class="small" x="{_MARGIN + 10}" y="{y + 33}">{shape}</text>'
        f'<text class="share" x="{_MARGIN + _WIDTH - 10}" y="{y + 17}">{share:.1%}</text>'
    )


def _arrow(x: float, top: float, end: float) -> str:
    return f'<path class="edge" d="M{x:g} {top:g}V{end:g}"/><path class="head" d="M{x:g} {end:g}l-4 -7h8z"/>'


def _round(way: _Way) -> str:
    """From the right side of where it is made, down its lane, to the right side of where it is read."""
    right, x = _MARGIN + _WIDTH, _MARGIN + _WIDTH + _LANE * (way.lane + 1)
    start = _top(way.start) + _HEIGHT - 10
    ends = [_top(stop) + 12 for stop in way.stops]
    path = f"M{right} {start}H{x}V{ends[-1]}" + "".join(f"M{x} {end}H{right}" for end in ends)
    heads = "".join(f'<path class="head" d="M{right} {end}l7 -4v8z"/>' for end in ends)
    return f'<path class="edge" d="{path}"/>{heads}'
