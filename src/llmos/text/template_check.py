"""What a chat template wants that is not there, found in its syntax tree before it is run."""

from collections.abc import Iterator
from typing import Any

from jinja2 import Environment, TemplateAssertionError, nodes
from jinja2.meta import find_undeclared_variables

__all__ = ["refuse_unknown", "takes_parts"]

_OTHER_TEMPLATES: dict[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from",
    nodes.Extends: "extends",
}

# Filters that are given the name of another filter or of a test, and the place of that argument.
_NAME_FILTERS, _NAME_TESTS = {"map": 0}, {"select": 0, "reject": 0, "selectattr": 1, "rejectattr": 1}


def refuse_unknown(tree: nodes.Template, environment: Environment) -> None:
    """Raise TemplateAssertionError, naming what is unknown or barred and its line."""
    for what, line in _wishes(tree, environment):
        raise TemplateAssertionError(what, line)


def takes_parts(tree: nodes.Template) -> bool:
    """Whether a loop goes over something that is, or is named after, the content of a message."""
    loops = (loop.iter for loop in tree.find_all(nodes.For))
    names = {"content"} | {
        node.target.name
        for node in tree.find_all(nodes.Assign)
        if isinstance(node.target, nodes.Name) and _is_content(node.node, set())
    }
    return any(_is_content(each, names) for each in loops)


def _wishes(tree: nodes.Template, environment: Environment) -> Iterator[tuple[str, int]]:
    functions = find_undeclared_variables(tree) - environment.globals.keys() - _asked_about(tree)
    found: Iterator[nodes.Node] = tree.find_all(nodes.Node)
    for node in found:
        if (other := _OTHER_TEMPLATES.get(type(node))) is not None:
            yield f"{{% {other} %}} asks for another template, and there is none", node.lineno
        elif isinstance(node, nodes.Filter):
            yield from _of_filter(node, environment)
        elif isinstance(node, nodes.Test) and node.name not in environment.tests:
            yield f"there is no test {node.name!r}", node.lineno
        elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name in functions:
            yield f"there is no function {node.node.name!r}", node.lineno
        elif isinstance(node, nodes.Getattr) and node.attr.startswith("__"):
            yield f"the attribute {node.attr!r} is Python's own and barred", node.lineno
        elif isinstance(node, nodes.Getitem) and _text_of(node.arg).startswith("__"):
            yield f"the attribute {_text_of(node.arg)!r} is Python's own and barred", node.lineno


def _of_filter(node: nodes.Filter, environment: Environment) -> Iterator[tuple[str, int]]:
    named = [_text_of(argument) for argument in node.args]
    if node.name not in environment.filters or node.name.startswith("_"):
        yield f"there is no filter {node.name!r}", node.lineno
    elif node.name == "attr" and named and named[0].startswith("__"):
        yield f"the attribute {named[0]!r} is Python's own and barred", node.lineno
    for table, places, what in (
        (environment.filters, _NAME_FILTERS, "filter"),
        (environment.tests, _NAME_TESTS, "test"),
    ):
        at = places.get(node.name)
        if at is not None and len(named) > at and named[at] and (named[at] not in table or named[at][0] == "_"):
            yield f"there is no {what} {named[at]!r}", node.lineno


def _asked_about(tree: nodes.Template) -> set[str]:
    """Names that the template tests for being there, and so can do without."""
    tests = (test for test in tree.find_all(nodes.Test) if test.name in ("defined", "undefined"))
    return {test.node.name for test in tests if isinstance(test.node, nodes.Name)}


def _text_of(node: Any) -> str:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else ""


def _is_content(node: nodes.Node, names: set[str]) -> bool:
    while isinstance(node, nodes.Filter) and node.node is not None:
        node = node.node
    if isinstance(node, nodes.Name):
        return node.name in names
    if isinstance(node, nodes.Getattr):
        return node.attr == "content"
    return isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and node.arg.value == "content"
