"""A chat template compiled: Jinja in a sandbox set up as transformers does it, checked beforehand and bounded.

The same template and the same conversation give the bytes that transformers gives. What the sandbox cannot do (other templates,
unknown filters and tests, unknown functions, Python's insides) is refused by name when a template is compiled, which is when
a model is loaded; what only a conversation brings out is refused when it is rendered.

Source: transformers, utils/chat_template_utils.py, _compile_jinja_template.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, ext, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from llmos.core.errors import UserError
from llmos.text.template_charges import FILTERS, charged, written
from llmos.text.template_check import refuse_unknown, takes_parts
from llmos.text.template_limits import budget, predicted, rendering, size_of_product

__all__ = ["ChatTemplate", "compiled"]

# What the expressions of a template may come to, which are a program in small.
_MISHAPS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NameError, RuntimeError),
    *(TypeError, ValueError),
)
_LONGEST = 1_000_000  # characters of a template
_PER_CALL = 5  # steps: calling a macro takes as long as several filters


class ChatTemplate:
    """A compiled template. takes_parts: whether it looks into contents that are lists of parts."""

    def __init__(self, source: str):
        if len(source) > _LONGEST:
            raise UserError(f"the model's chat template has {len(source)} characters; {_LONGEST} are allowed")
        try:
            self._template = _environment().from_string(source)
            self.takes_parts = takes_parts(_environment().parse(source))
        except TemplateError as error:
            line = f" (line {error.lineno})" if hasattr(error, "lineno") else ""
            raise UserError(f"the model's chat template cannot be used{line}: {error}") from error
        except (SyntaxError, *_MISHAPS) as error:  # what Jinja lets pass and Python does not: a break outside of loops
            raise UserError(f"the model's chat template cannot be used: {_words(error)}") from error

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text. variables: plain data. Raises UserError where the template refuses or fails."""
        try:
            with rendering(variables) as left:
                pieces = []
                for piece in self._template.generate(variables):
                    left.write(len(piece))
                    pieces.append(piece)
                return "".join(pieces)
        except (TemplateError, *_MISHAPS) as error:
            raise UserError(f"the model's chat template refuses this conversation: {_words(error)}") from error


@lru_cache(maxsize=32)
def compiled(source: str) -> ChatTemplate:
    """The template of a source. Raises UserError, naming what it wants that is not there."""
    return ChatTemplate(source)


def _words(error: Exception) -> str:
    return "it asks for more memory than there is" if isinstance(error, MemoryError) else str(error)


class _Generation(ext.Extension):
    """{% generation %} marks what the assistant says; rendering only passes it on."""

    tags = frozenset({"generation"})  # type: ignore[assignment]  # Jinja declares a set and only looks into it

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_pass_on"), [], [], body).set_lineno(line)

    def _pass_on(self, caller):
        return caller()


class _Environment(ImmutableSandboxedEnvironment):
    """Every operator, call, filter and output is charged to the budget of the rendering."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        refuse_unknown(tree, self)
        return charged(tree, self)

    def call_binop(self, context, operator, left, right):
        budget().spend(size_of_product(operator, left, right))
        return super().call_binop(context, operator, left, right)

    def call(self, context, function, /, *args, **kwargs):  # type: ignore[override]
        method = getattr(function, "__wrapped__", function)  # the sandbox wraps `format` of a text
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, str):
            if name in ("translate", "maketrans"):
                raise SecurityError(f"text has no {name} in a template")
            budget().spend(predicted(name, (owner, *args), kwargs))
        else:
            budget().spend(steps=_PER_CALL)
            for value in (*args, *kwargs.values()):
                budget().check(value)
        return super().call(context, function, *args, **kwargs)


class _Namespace(Namespace):
    """Jinja's, which takes no names that begin with an underscore."""

    def __init__(*args, **kwargs):
        values = dict(*args[1:], **kwargs)
        for name in values:
            _check_name(name)
        Namespace.__init__(args[0], values)

    def __setitem__(self, name, value):
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace takes no names that begin with an underscore, such as {name!r}")


class _Dict:
    """`dict` without what Python's class leads to."""

    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args, **kwargs):
        return dict.fromkeys(*args, **kwargs)


def _refuse(message):
    raise TemplateError(message)


def _strftime_now(pattern):
    return datetime.now().strftime(pattern)


def _to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@lru_cache(maxsize=1)
def _environment() -> _Environment:
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, ext.loopcontrols])
    environment.filters["tojson"] = _to_json
    for name, function in list(environment.filters.items()):
        environment.filters[name] = _bounded(name, function)
    environment.filters |= FILTERS
    environment.finalize = written
    del environment.globals["lipsum"]  # text at random
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _strftime_now}
    environment.globals |= {"dict": _Dict(), "namespace": _Namespace}
    return environment


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that is charged for what it is given and what it may give."""
    passed = hasattr(function, "jinja_pass_arg")  # context or environment come first

    @functools.wraps(function)
    def run(*args, **kwargs):
        given = list(args[1:] if passed else args)
        if name == "join" and given and isinstance(given[0], Iterator):
            given[0] = list(given[0])  # its length tells how large the text will be
        budget().spend(predicted(name, given, kwargs))
        return function(*args[:1], *given, **kwargs) if passed else function(*given, **kwargs)

    return run
