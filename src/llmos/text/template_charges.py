"""Where a chat template meets its budget: filters of our own that are put into its syntax tree.

A filter is the one kind of node that any expression can be wrapped in without changing what it gives. Templates cannot name
these: `template_check` refuses names that begin with an underscore.
"""

from collections.abc import Callable
from typing import Any, cast

from jinja2 import Environment, nodes, pass_context

from llmos.text.template_limits import budget

__all__ = ["FILTERS", "charged", "written"]

_SHORT = 128  # characters that are compared for nothing


def charged(tree: nodes.Template, environment: Environment) -> nodes.Template:
    """The template with its budget in it: what gets a name, is compared or joined, and the rounds of loops and macros."""
    for node in list(tree.find_all(tuple(_CHARGES))):
        _CHARGES[type(node)](node)
    _replace_concat(tree)
    tree.set_environment(environment)
    return tree


def written(value):
    """A value that is written into the text of the template, or of one of its blocks."""
    size = budget().size(value)
    budget().spend(size)
    budget().write(size)
    return value


def _kept(value):
    """A value that gets a name: one that is too large is refused while it can still be told."""
    if not isinstance(value, str | int | float | type(None)):
        budget().spend()
        budget().check(value)
    return value


def _weighed(value):
    """A value that is compared or cut, which takes as long as it is large."""
    if isinstance(value, str):
        if len(value) > _SHORT:
            budget().spend(len(value))
        return value
    if isinstance(value, list | tuple | dict):
        budget().spend(budget().size(value))
    return value


def _each(value):
    """What a loop goes over."""
    _kept(value)
    if not hasattr(value, "__len__"):
        return _counted(value)
    budget().spend(steps=len(value))
    return value


def _counted(items):
    for item in items:
        budget().spend()
        yield item


def _joined(values):
    """`a ~ b`."""
    budget().spend(sum(budget().size(value) for value in values))
    return "".join(map(str, values))


@pass_context  # so that it is not computed beforehand
def _tick(context, size):
    """A round of a loop or a macro, whose own text has this size."""
    budget().spend(size)
    budget().write(size)
    return ""


def _charge_assign(node: nodes.Assign) -> None:
    node.node = _filter("_kept", node.node)


def _charge_with(node: nodes.With) -> None:
    node.values = [_filter("_kept", value) for value in node.values]


def _charge_round(node: nodes.For | nodes.Macro) -> None:
    own = sum(len(data.data) for part in node.body for data in part.find_all(nodes.TemplateData))
    node.body = [nodes.Output([_filter("_tick", nodes.Const(own, lineno=node.lineno))], lineno=node.lineno), *node.body]


def _charge_for(node: nodes.For) -> None:
    _charge_round(node)
    node.iter = _filter("_each", node.iter)


def _charge_compare(node: nodes.Compare) -> None:
    node.expr = _filter("_weighed", node.expr)
    for operand in node.ops:
        operand.expr = _filter("_weighed", operand.expr)


def _charge_slice(node: nodes.Getitem) -> None:
    if isinstance(node.arg, nodes.Slice):
        node.node = _filter("_weighed", node.node)


def _charge_test(node: nodes.Test) -> None:
    if node.name in _COMPARING:
        node.node, node.args = _filter("_weighed", node.node), [_filter("_weighed", each) for each in node.args]


_COMPARING = {
    "in",
    "eq",
    "==",
    "equalto",
    "ne",
    "!=",
    "lt",
    "<",
    "lessthan",
    "le",
    "<=",
    "gt",
    ">",
    "greaterthan",
    "ge",
    ">=",
}
_CHARGES: dict[type[nodes.Node], Callable[[Any], None]] = {
    nodes.Assign: _charge_assign,
    nodes.With: _charge_with,
    nodes.Macro: _charge_round,
    nodes.For: _charge_for,
    nodes.Compare: _charge_compare,
    nodes.Getitem: _charge_slice,
    nodes.Test: _charge_test,
}


def _filter(name: str, value: nodes.Node) -> nodes.Filter:
    return nodes.Filter(cast(nodes.Expr, value), name, [], [], None, None, lineno=value.lineno)


def _replace_concat(node: nodes.Node) -> None:
    for name, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, name, [_with_joined(item) if isinstance(item, nodes.Node) else item for item in value])
        elif isinstance(value, nodes.Node):
            setattr(node, name, _with_joined(value))


def _with_joined(node: nodes.Node) -> nodes.Node:
    _replace_concat(node)
    if isinstance(node, nodes.Concat):
        return _filter("_joined", nodes.List(node.nodes, lineno=node.lineno))
    return node


FILTERS: dict[str, Callable[..., Any]] = {
    "_kept": _kept,
    "_weighed": _weighed,
    "_each": _each,
    "_joined": _joined,
    "_tick": _tick,
}
