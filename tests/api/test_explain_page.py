"""The page of an explanation is read as a browser and a screen reader would: structure, names, colours, and nothing from outside."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from llmos.api.explain import explain_graph
from llmos.api.step_times import OperationTimes
from llmos.compiler import Options, build_graph
from llmos.models import spec_from_config
from llmos.plan import Roofs
from tests.tiny_programs import CONFIGS

PEAKS = {"float32_ops_per_s": 1e9, "bf16_ops_per_s": 2e9, "int8_ops_per_s": 8e9}
ROOFS = Roofs(target="x86-64-v3", threads=2, read_bytes_per_s=1e10, **PEAKS)
VOID = {"meta", "link", "br", "img", "input", "hr"}


def explained(model: str = "llama", *, measured: bool = True, name: str = "mini"):
    graph = build_graph(spec_from_config(CONFIGS[model]), Options(weights="bf16"))
    n = 2 + sum(len(block.nodes) for _, block in graph.blocks())
    times = OperationTimes(parts=tuple(1e-5 * (i + 1) for i in range(n)), step_s=1e-2, noted_s=1.01e-2)
    found = {"decode": times, "prefill": times} if measured else None
    return graph, explain_graph(graph, ROOFS, context=192, name=name, times=found, unmeasured=None)


class Reader(HTMLParser):
    """Tags with their attributes in order; fails where one is left open or closed twice."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes what it did not open"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.mark.parametrize("model", CONFIGS)
@pytest.mark.parametrize("measured", [True, False])
def test_a_page_needs_nothing_else_and_can_be_read_without_eyes_or_mouse(model: str, measured: bool):
    page = Reader(explained(model, measured=measured)[1].page())
    assert not page.all("script") and not page.all("link") and not page.all("img")
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("table")) == len(page.all("caption")) == 2
    assert {cell["scope"] for cell in page.all("th")} == {"col", "row", "rowgroup"}
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    scrolling = [attrs for _, attrs in page.tags if attrs.get("class") == "wide"]
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in scrolling) and len(scrolling) == 3
    assert all(picture.get("aria-hidden") == "true" or picture["role"] == "img" for picture in page.all("svg"))


def test_a_name_cannot_become_markup():
    text = explained(name='<img src=x onerror="alert(1)">')[1].page()
    assert "<img" not in text
    assert "&lt;img" in text


@pytest.mark.parametrize("model", CONFIGS)
def test_the_drawing_shows_every_node_and_every_way_of_a_value(model: str):
    graph, made = explained(model)
    text = re.search(r'<svg class="graph".*?</svg>', made.page(), re.DOTALL)[0]
    svg = ElementTree.fromstring(text)  # well formed
    boxes = [each for each in svg.iter("rect") if each.get("class") == "node"]
    nodes = [node for _, block in graph.blocks() for node in block.nodes]
    assert len(boxes) == len(nodes)
    heads = [each for each in svg.iter("path") if each.get("class") == "head"]
    assert len(heads) == sum(len(set(node.inputs)) for node in nodes) + len(list(graph.blocks())) - 1
    told = svg.find("desc").text
    assert all(f"{node.out} is {node.op} of " in told for node in nodes)


def test_the_picture_can_be_told_from_its_ground_in_light_and_dark():
    style = re.search("<style>(.*?)</style>", explained()[1].page(), re.DOTALL)[1]
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w+)", part)) for part in style.split("@media (prefers-color-scheme: dark)")
    )
    for colours in (light, {name: dark[name] for name in light if name in dark}):
        for name, least in (("ink", 7), ("soft", 4.5), ("link", 4.5), ("time", 3), ("roof", 3)):
            assert contrast(colours[name], colours["paper"]) >= least, name
            assert contrast(colours[name], colours["tint"]) >= least, name


def contrast(a: str, b: str) -> float:
    """WCAG 2: relative luminances with an offset, the larger over the smaller."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)
