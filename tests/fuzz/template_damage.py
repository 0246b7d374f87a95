"""Damage to chat templates: their words exchanged, doubled, taken out, or replaced by what a hostile template would try."""

import random
import re

__all__ = ["template_damaged"]

_WORD = re.compile(r"\{[{%#]-?|-?[}%#]\}|\w+|'[^']*'|\s+|.", re.DOTALL)
_HOSTILE = [
    "range(10**9)", "range(99999)", "'a' * 10**9", "('a' * 9999) * 9999", "[0] * 10**9", "10 ** 10 ** 9", "2 ** 99999", "messages * 10**8",
    "'%099999999d' % 1", "'{:>999999999}'.format(1)", "'a'.center(10**9)", "'a'.__class__", "''['__class__']", "self", "cycler", "joiner()",
    "lipsum(99999)", "namespace(__class__=1)", "(messages|list) * 10**7", "messages|join('x' * 10**8)", "'x'|indent(10**9)",
    "'x' ~ 'y' * 10**9", "messages|map('attr', '__class__')|list", "'a,b'.split('')", "'x'.encode('idna')", "strftime_now('%' * 9999)",
    "strftime_now('%999999999d')", "messages[10**30]", "messages[::0]", "'x'.join(range(99999)|map('string'))", "'x'|center(10**9)",
    "raise_exception('no')", "1 // 0", "1e308 * 10", "messages|tojson(indent=10**8)", "'x'.replace('', 'y' * 10**8)", "'a'.ljust(10**9)",
    "caller()", "super()", "loop(messages)", "loop.cycle()", "none + 1", "messages|sort", "messages|batch(10**9)|list", "x|slice(10**9)|list",
    "(10**4000)|string", "'\\ud800'", "messages|groupby('role')", "'x'.zfill(10**9)", "'%s' % ('a' * 10**8)", "'x'.expandtabs(10**9)",
    "messages|sum(start=[])", "'\\t' * 99 | wordwrap(0)", "messages.append(1)", "messages.__len__()", "true|filesizeformat", "'x'|urlize",
]  # fmt: skip
_BLOCKS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{{ 'y' * 9999 }}{% endfor %}",
    "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{% macro f(n) %}{{ f(n - 1) }}{{ f(n - 1) }}{% endmacro %}{{ f(99) }}",
    "{% set x = namespace(v='ab') %}{% for i in range(60) %}{% set x.v = x.v ~ x.v %}{% endfor %}{{ x.v }}",
    "{% set x = namespace(v=[1]) %}{% for i in range(60) %}{% set x.v = x.v + x.v %}{% endfor %}{{ x.v }}",
    "{% set x = namespace(v=3) %}{% for i in range(60) %}{% set x.v = x.v * x.v %}{% endfor %}{{ x.v }}",
    "{% set x = [] %}{% for i in range(60) %}{% set x = [x, x] %}{% endfor %}{{ x }}",
    "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
    "{% include 'x' %}", "{% import 'os' as os %}", "{% extends 'x' %}", "{% block a %}{{ self.a() }}{% endblock %}",
    "{% filter upper %}" * 300 + "x" + "{% endfilter %}" * 300,
    "{% if 1 %}" * 300 + "{% endif %}" * 300,
    "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
    "{{ " + "-" * 3000 + "1 }}",
    "{% call(x) f() %}{% endcall %}",
    "{% raw %}", "{# ", "{% generation %}x{% endgeneration %}", "{% break %}", "{% for a in messages %}{% continue %}{% endfor %}",
    "{% set messages = messages * 50 %}", "{% with a = 1 %}", "{% autoescape true %}{{ '<' }}{% endautoescape %}",
]  # fmt: skip


def template_damaged(rng: random.Random, data: bytes) -> bytes:
    words = _WORD.findall(data.decode("utf-8"))
    a, b = rng.randrange(len(words)), rng.randrange(len(words))
    kind = rng.randrange(8)
    if kind == 0:
        words[a], words[b] = words[b], words[a]
    elif kind == 1:
        del words[min(a, b) : min(a, b) + rng.choice([1, 2, 10])]
    elif kind == 2:
        words[a:a] = words[min(a, b) : max(a, b)]
    elif kind == 3:
        words[a:a] = [rng.choice(_BLOCKS)]
    elif kind < 6:
        names = [i for i, word in enumerate(words) if word[0].isalnum() or word[0] == "'"]
        words[rng.choice(names)] = rng.choice(_HOSTILE)
    elif kind == 6:
        words[a:a] = ["{{ ", rng.choice(_HOSTILE), " }}"]
    else:
        words[a:a] = ["{{ (", rng.choice(_HOSTILE), ")|", rng.choice(_FILTERS), " }}"]
    return "".join(words).encode("utf-8", "surrogatepass")


_FILTERS = [
    "join", "length", "tojson", "string", "list", "upper", "replace('a', 'b' * 9999)", "indent(9999)", "center(9999)", "reverse", "unique|list",
    "dictsort", "items|list", "xmlattr", "pprint", "striptags", "truncate(-5)", "format(1)", "float", "int", "round(400)", "abs", "random",
    "map('upper')|list", "select|list", "batch(2)|list", "escape", "safe", "first", "last", "max", "min", "sum", "wordcount", "urlencode",
]  # fmt: skip
