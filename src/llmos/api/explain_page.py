"""The explanation of a model as one HTML document: no script, nothing from elsewhere, light or dark as the reader has it.

The bars stand in the tables whose numbers they show, so that one thing serves eyes and screen readers. Whatever is wider than the
window scrolls by itself and can be reached by the keyboard.
"""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from llmos.api.costs import Line, StepCosts
from llmos.api.explain_drawing import bar, drawing
from llmos.api.explain_table import block_title, code_lines, notes, roof_line
from llmos.compiler import Graph
from llmos.core.units import format_bytes
from llmos.plan import Roofs

__all__ = ["page"]

_STYLE = """\
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #57606a; --line: #c9d1d9; --tint: #f4f6f8;
  --time: #2f6fb3; --roof: #b3261e; --link: #0b57a4; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e6e8ea; --soft: #a2abb5; --line: #3b434c;
  --tint: #1e2328; --time: #5b9bd9; --roof: #ffb086; --link: #8cc2ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { margin: .25rem 0 .75rem; max-width: 60rem; } .soft { color: var(--soft); } a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; margin: .75rem 0; list-style: none; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
dl { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: .5rem 0 1rem; }
dt { color: var(--soft); font-size: .875rem; } dd { margin: 0; font-size: 1.125rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { padding: .3rem .7rem; text-align: left; white-space: nowrap; font-weight: 400; }
thead th { color: var(--soft); font-size: .8125rem; border-bottom: 1px solid var(--line); }
tbody th[scope=rowgroup] { background: var(--tint); font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.bars { width: 40%; min-width: 14rem; } svg.bar { display: block; }
.time { fill: var(--time); } .roof { fill: var(--roof); stroke: var(--paper); stroke-width: 1; }
.guess { fill: none; stroke: var(--time); stroke-width: 1.5; }
.key svg { vertical-align: -4px; margin-right: .3rem; } .key span { margin-right: 1.25rem; }
.graph { display: block; margin: 0 auto; padding: 1rem; box-sizing: content-box; font: 13px system-ui, sans-serif; }
.graph text { fill: var(--ink); } .graph .name { font-weight: 600; font-size: 14px; } .graph .share { text-anchor: end; }
.graph .small { fill: var(--soft); font-size: 11.5px; white-space: pre; }
.block { fill: var(--tint); stroke: var(--line); } .node { fill: var(--paper); stroke: var(--soft); }
.input { fill: none; stroke: var(--soft); stroke-dasharray: 4 3; } .edge { fill: none; stroke: var(--soft); stroke-width: 1.5; }
.head { fill: var(--soft); } code { font-size: .9em; }
@media (forced-colors: active) { .time { fill: Highlight; } .roof { fill: CanvasText; } .guess { stroke: CanvasText; } }
"""
_SCROLLS = 'class="wide" tabindex="0" role="region"'


def page(name: str, graph: Graph, roofs: Roofs, steps: Sequence[StepCosts], unmeasured: str | None) -> str:
    """The document. name: of the model, which may be any text."""
    facts = graph.facts
    links = [*((step.name, step.title) for step in steps), ("graph", "The graph"), ("code", "Instructions in use")]
    told = "" if unmeasured is None else f"<p><strong>Not measured:</strong> {escape(unmeasured)}.</p>\n"
    if graph.encoder is not None:
        told += "<p>The encoder, which reads a source once, is not in these tables.</p>\n"
    sections = "\n".join(_section(step) for step in steps)
    shown = escape(steps[0].title) if steps else ""
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(name)}, explained</title>
<style>
{_STYLE}</style>
</head>
<body>
<header>
<h1>{escape(name)}</h1>
<p class="soft">Compiled with {escape(facts["weights"])} weights and {escape(facts["kv"])} keys and values; {escape(roof_line(roofs))}</p>
{told}<nav aria-label="On this page"><ul>{"".join(f'<li><a href="#{id}">{escape(text)}</a></li>' for id, text in links)}</ul></nav>
</header>
<main>
{sections}
<section id="graph" aria-labelledby="graph-heading">
<h2 id="graph-heading">The graph</h2>
<p>Layers of one kind share their code. The bar and the percentage of an operation are its share of “{shown}”, all layers of its kind
together; T stands for the tokens of a step, O for the rows whose scores are wanted.</p>
<div {_SCROLLS} aria-label="Drawing of the graph">
{drawing(graph, steps[0]) if steps else ""}
</div>
</section>
<section id="code" aria-labelledby="code-heading">
<h2 id="code-heading">Instructions in use</h2>
<p>“Portable” says that {escape(roofs.target)} has no instructions of its own for an operation, and plain arithmetic stands in.</p>
<ul>{"".join(f"<li>{escape(line.removeprefix('code '))}</li>" for line in code_lines(steps))}</ul>
</section>
</main>
</body>
</html>
"""


def _section(step: StepCosts) -> str:
    heading = escape(step.title[0].upper() + step.title[1:])
    return f"""\
<section id="{step.name}" aria-labelledby="{step.name}-heading">
<h2 id="{step.name}-heading">{heading}</h2>
<dl>{"".join(f"<div><dt>{term}</dt><dd>{value}</dd></div>" for term, value in _tiles(step))}</dl>
{_key(step)}{_notes(step)}
<div {_SCROLLS} aria-label="{heading}: table of operations">
<table>
<caption>{heading}: the operations with their times in milliseconds, all runs of a step together</caption>
<thead><tr>{"".join(f'<th scope="col"{" class=number" if number else ""}>{name}</th>' for name, number in _columns(step))}</tr></thead>
{"".join(_group(title, list(lines), step) for title, lines in groupby(step.lines, block_title))}</table>
</div>
</section>"""


def _tiles(step: StepCosts) -> Iterator[tuple[str, str]]:
    if step.step_s is not None and step.measured_s is not None:
        yield "measured", f"{step.step_s * 1e3 / step.tokens:.4g} ms per token"
        yield "speed", f"{step.tokens / step.step_s:,.0f} tokens/s"
        yield "of the roof", f"{step.predicted_s / step.step_s:.0%}"
        yield "operations together", f"{step.measured_s / step.step_s:.1%} of the time"
    yield "predicted by the roofs", f"{step.predicted_s * 1e3 / step.tokens:.4g} ms per token"
    yield "read and computed", f"{format_bytes(step.n_bytes)}, {step.operations / 1e6:,.1f} Mop"


def _key(step: StepCosts) -> str:
    def swatch(shape: str) -> str:
        return f'<svg aria-hidden="true" width="28" height="20">{shape}</svg>'

    if step.step_s is None:
        return (
            f'<p class="key soft"><span>{swatch("<rect class=guess x=1 y=4 width=26 height=12 />")}predicted</span></p>'
        )
    return (
        f'<p class="key soft"><span>{swatch("<rect class=time x=0 y=4 width=28 height=12 />")}measured</span>'
        f"<span>{swatch('<rect class=roof x=12 y=1 width=3 height=18 />')}the roof: what the machine would allow</span></p>"
    )


def _notes(step: StepCosts) -> str:
    return "".join(f'<p class="soft">{escape(note)}</p>' for note in notes(step))


def _columns(step: StepCosts) -> Iterator[tuple[str, bool]]:
    yield from (
        ("operation", False),
        ("weights", False),
        ("read", True),
        ("million operations", True),
        ("predicted ms", True),
    )
    if step.step_s is not None:
        yield from (("measured ms", True), ("of the roof", True))
    yield from (("bound by", False), ("share", True), ("time", False))


def _group(title: str, lines: Sequence[Line], step: StepCosts) -> str:
    span = len(list(_columns(step)))
    rows = "".join(f"<tr>{''.join(_cells(line, step))}</tr>\n" for line in lines)
    return f'<tbody><tr><th scope="rowgroup" colspan="{span}">{escape(title)}</th></tr>\n{rows}</tbody>\n'


def _cells(line: Line, step: StepCosts) -> Iterator[str]:
    def number(text: str) -> str:
        return f'<td class="number">{text}</td>'

    yield f'<th scope="row">{escape(line.op)}</th>'
    yield f"<td>{escape(', '.join(line.params))}</td>"
    yield number(format_bytes(line.n_bytes))
    yield number(f"{line.operations / 1e6:,.3f}")
    yield number(f"{line.predicted_s * 1e3:.4f}")
    if line.measured_s is not None:
        yield number(f"{line.measured_s * 1e3:.4f}")
        yield number(f"{line.roof or 0:.0%}")
    yield f"<td>{line.bound}</td>"
    yield number(f"{line.seconds / step.seconds:.1%}")
    longest = max(max(other.seconds, other.predicted_s) for other in step.lines)
    yield f'<td class="bars">{bar(line, longest)}</td>'
