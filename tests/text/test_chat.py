"""Chat templates: the bytes of transformers for whatever conversation it renders; and whatever a template does, it ends."""

import enum
import json
import re
import subprocess
import sys
import typing
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmos.core.errors import UserError
from llmos.text import PromptFormat, check_templates, render_chat
from llmos.text.tool_schema import tool_schema
from tests.text.chat_templates import OWN
from tests.tiny_tokenizer import tokenizer_text

PUBLISHED = ["Qwen-Qwen2.5-7B-Instruct", "microsoft-Phi-3.5-mini-instruct", "mistralai-Mistral-Nemo-Instruct-2407"]
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def format_of(template: str | None, **named: str) -> PromptFormat:
    return PromptFormat(tokenizer="{}", chat_template=template, special=SPECIAL, named_templates=named)


@pytest.fixture(scope="module")
def theirs():
    """transformers' own tokenizer class, whose apply_chat_template is the reference."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from tokenizers import Tokenizer

    return transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(tokenizer_text()), **SPECIAL)


@pytest.fixture(params=[*PUBLISHED, *OWN])
def template(request, data_dir) -> str:
    if request.param in OWN:
        return OWN[request.param]
    return (data_dir / "tokenizers" / "templates" / f"{request.param}.jinja").read_text("utf-8")


def weather(city: str, days: int = 1) -> str:
    """The weather of a city.

    Args:
        city: Name of the city
        days: For how many days (choices: [1, 2, 3])
    """


TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds <numbers> & 'more'",
        "parameters": {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]},
    },
}

CONTENT = st.one_of(
    st.sampled_from(
        ["Hello", " spaces ", "a\n\nb\n", "<think>\nhm\n</think>\n\nyes", "</tool_response>", "", "<|im_end|>"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
ARGUMENTS = st.dictionaries(st.text("abä", max_size=3), st.one_of(st.integers(), st.none(), CONTENT), max_size=2)
CALL = st.builds(
    lambda arguments, as_text, name: {
        "type": "function",
        "id": name,
        "function": {"name": "add", "arguments": json.dumps(arguments) if as_text else arguments},
    },
    ARGUMENTS,
    st.booleans(),
    st.sampled_from(["abcdefghi", "123456789", "x"]),
)
PARTS = st.lists(st.builds(lambda text: {"type": "text", "text": text}, CONTENT), min_size=1, max_size=3)


@st.composite
def conversations(draw, parts: bool = False) -> list[dict]:
    """Of the kind that templates expect, mostly; now and then something else."""
    content = st.one_of(CONTENT, PARTS) if parts else CONTENT
    out = [{"role": "system", "content": draw(content)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        out.append({"role": "user", "content": draw(content)})
        if draw(st.integers(0, 3)) == 0:
            calls = draw(st.lists(CALL, min_size=1, max_size=2))
            said = {"content": draw(st.one_of(st.none(), CONTENT))} if draw(st.booleans()) else {}
            out.append({"role": "assistant", "tool_calls": calls} | said)
            out += [
                {"role": "tool", "content": draw(CONTENT), "tool_call_id": call["id"], "name": "add"} for call in calls
            ]
        answer = {"role": "assistant", "content": draw(content)}
        reasoning = st.sampled_from(["reasoning_content", "thinking", "reasoning", "none"])
        out.append(answer | {draw(reasoning): draw(CONTENT)})
        if draw(st.integers(0, 9)) == 0:
            out.append({"role": draw(st.sampled_from(["developer", "system", "other"])), "content": "x"})
    return out if draw(st.integers(0, 2)) == 0 else out[:-1]


OPTIONS = st.fixed_dictionaries(
    {"add_generation_prompt": st.booleans()},
    optional={
        "tools": st.sampled_from([[TOOL], [TOOL, weather], []]),
        "documents": st.sampled_from([[{"title": "a", "text": "b\nc"}], []]),
        "enable_thinking": st.booleans(),
        "date_string": st.just("today"),
        "continue_final_message": st.sampled_from([True, "content", "reasoning_content"]),
    },
)


def outcome(render) -> str | None:
    """The text; None for a conversation that is refused."""
    try:
        return render()
    except Exception as error:
        assert not isinstance(error, AssertionError), error
        return None


def compare(theirs, template: str, messages: list[dict], options: dict) -> None:
    if options.get("continue_final_message"):
        options = options | {"add_generation_prompt": False}
    expected = outcome(lambda: theirs.apply_chat_template(messages, chat_template=template, tokenize=False, **options))
    ours = outcome(lambda: render_chat(format_of(template), messages, **options))
    assert ours == expected, (messages, options)


def test_generated_conversations_render_as_transformers_renders_them(template, theirs):
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(messages=conversations(), options=OPTIONS)
    def holds(messages, options):
        compare(theirs, template, messages, options)

    holds()


@pytest.mark.slow
def test_many_more_conversations_render_as_transformers_renders_them(template, theirs):
    @settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
    @given(messages=conversations(), options=OPTIONS)
    def holds(messages, options):
        compare(theirs, template, messages, options)

    holds()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages=conversations(parts=True), options=OPTIONS)
def test_contents_in_parts_render_as_transformers_renders_them(messages, options, theirs):
    compare(theirs, OWN["gemma"], messages, options)


def test_parts_are_joined_for_a_template_that_knows_none():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    joined = render_chat(format_of(OWN["chatml"]), [{"role": "user", "content": parts}])
    assert joined == "<|im_start|>user\na\nb<|im_end|>\n<|im_start|>assistant\n"


def test_the_template_for_tools_is_taken_where_there_are_tools():
    format = format_of("plain", tool_use="tools", rag="rag")
    said = [{"role": "user", "content": "x"}]
    assert render_chat(format, said) == "plain"
    assert render_chat(format, said, tools=[TOOL]) == "tools"
    assert render_chat(format, said, chat_template="rag") == "rag"
    with pytest.raises(UserError, match="no chat template 'other'; it has default, rag, tool_use"):
        render_chat(format, said, chat_template="other")
    with pytest.raises(UserError, match="no chat template 'default'; it has rag"):
        render_chat(format_of(None, rag="rag"), said)


def test_the_caller_keeps_his_messages():
    said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "yes", "reasoning": "r"}]
    before = json.dumps(said)
    render_chat(format_of(OWN["chatml"]), said, continue_final_message=True)
    assert json.dumps(said) == before


class Colour(enum.Enum):
    RED, BLUE = "red", "blue"


def paint(
    what: str,
    colour: Colour,
    layers: int | None = None,
    finish: Literal["matt", "gloss"] = "matt",
    sizes: list[float] | None = None,
    options: dict[str, int | str] | None = None,
    place: tuple[int, int] = (0, 0),
    anything: typing.Any = None,
    mixed: list[int] | str = "",
) -> bool:
    """Paints a thing.

    Takes its time.

    Args:
        what: The thing
            to paint
        colour: In which colour
        layers: How many layers (choices: [1, 2])
        finish: matt or gloss
        sizes: its sizes
        options: more
        place: where: here
        anything: whatever
        mixed: a mixture

    Returns:
        whether it worked
    """


@pytest.mark.parametrize("function", [weather, paint])
def test_a_function_as_a_tool_has_the_schema_of_transformers(function):
    utilities = pytest.importorskip("transformers.utils", reason="transformers is not installed")
    assert tool_schema(function) == utilities.get_json_schema(function)
    assert json.dumps(tool_schema(function)) == json.dumps(utilities.get_json_schema(function))


def untyped(a):
    """Does it."""


def undescribed(a: int):
    """Does it."""


def odd(a: complex):
    """Does it.

    Args:
        a: number
    """


@pytest.mark.parametrize(
    ("tool", "named"),
    [
        (3, "a tool is a JSON schema"),
        (untyped, "has no type"),
        (undescribed, "does not describe"),
        (odd, "no JSON schema"),
    ],
)
def test_a_tool_that_cannot_be_described_is_refused(tool, named):
    with pytest.raises(UserError, match=named):
        tool_schema(tool)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("{% include 'x' %}", "{% include %} asks for another template"),
        ("{% import 'x' as y %}", "{% import %} asks for another template"),
        ("{% from 'x' import y %}", "{% from %} asks for another template"),
        ("{% extends 'x' %}", "{% extends %} asks for another template"),
        ("{% unheard_of %}", "unknown tag 'unheard_of'"),
        ("{{ 1 | unheard_of }}", "'unheard_of'"),
        ("{% if false %}{{ 1 | unheard_of }}{% endif %}", "'unheard_of'"),
        ("{% if false %}{{ 1 is unheard_of }}{% endif %}", "'unheard_of'"),
        ("{{ messages | map('unheard_of') | list }}", "no filter 'unheard_of'"),
        ("{{ messages | selectattr('role', 'unheard_of') | list }}", "no test 'unheard_of'"),
        ("{{ messages | _tick }}", "no filter '_tick'"),
        ("{{ [1] | map('_tick') | list }}", "no filter '_tick'"),
        ("{% if false %}{{ unheard_of() }}{% endif %}", "no function 'unheard_of'"),
        ("{{ lipsum() }}", "no function 'lipsum'"),
        ("{{ messages.__class__ }}", "'__class__' is Python's own"),
        ("{{ messages['__class__'] }}", "'__class__' is Python's own"),
        ("{{ messages | attr('__class__') }}", "'__class__' is Python's own"),
        ("{{ 1", "line 1"),
        ("x" * 1_000_001, "1000001 characters"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "recursion"),
    ],
)
def test_what_a_template_wants_and_is_not_there_is_named_when_a_model_is_loaded(source, named):
    with pytest.raises(UserError, match=r"^somewhere: the model's chat template") as caught:
        check_templates(format_of(source), "somewhere")
    assert named in str(caught.value)


def test_a_function_that_a_template_can_do_without_is_no_reason_to_refuse_it():
    source = "{% if current_date is defined %}{{ current_date() }}{% else %}none{% endif %}"
    check_templates(format_of(source, other="{{ raise_exception('x') }}"), "somewhere")
    assert render_chat(format_of(source), [{"role": "user", "content": "x"}]) == "none"


ATTACKS = {
    "product": "{{ 'a' * 999999999999999999 }}",
    "product turned": "{{ 999999999 * 'a' }}",
    "product of a list": "{{ messages * 999999999999999999 }}",
    "range": "{% for i in range(1000000000) %}{% endfor %}",
    "nested ranges": "{% for i in range(90000) %}{% for j in range(90000) %}{% for k in range(90000) %}{% endfor %}{% endfor %}{% endfor %}",
    "nested ranges that filter": "{% for i in range(90000) %}{% for j in range(90000) if j < 0 %}{% endfor %}{% endfor %}",
    "writing": "{% for i in range(90000) %}" + "a" * 5000 + "{% endfor %}",
    "writing into a block": "{% set x %}{% for i in range(90000) %}{{ messages[0].content * 5000 }}{% endfor %}{% endset %}",
    "doubling": "{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "doubling by plus": "{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "lists of lists": "{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "lists by macro": "{% macro f(x, n) %}{% if n %}{{ f([x, x], n - 1) }}{% endif %}{% endmacro %}{{ f([1], 60) }}",
    "lists by with": "".join(f"{{% with x = [x, x, {i}] %}}" for i in range(50)) + "{{ x }}" + "{% endwith %}" * 50,
    "namespaces": "{% set ns = namespace(x=1) %}{% for i in range(90) %}{% set ns.x = namespace(a=ns.x, b=ns.x) %}{% endfor %}{{ ns }}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "squares": "{% set ns = namespace(x=99) %}{% for i in range(90) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "percent star": "{{ '%*d' % (1000000000, 1) }}",
    "format filter": "{{ '%1000000000s' | format('x') }}",
    "format method": "{{ '{:>1000000000}'.format(1) }}",
    "format nested": "{{ '{:>{w}}'.format(1, w=1000000000) }}",
    "center": "{{ 'a' | center(1000000000) }}",
    "ljust": "{{ 'a'.ljust(1000000000) }}",
    "zfill": "{{ 'a'.zfill(1000000000) }}",
    "expandtabs": "{{ '\\t'.expandtabs(1000000000) }}",
    "indent": "{{ 'a\\nb' | indent(1000000000) }}",
    "batch": "{{ [1] | batch(1000000000, 'x') | list }}",
    "slice": "{{ [1] | slice(1000000000) | list }}",
    "replace": "{% set x = 'a' * 100000 %}{{ x | replace('a', x) }}",
    "replace method": "{% set x = 'a' * 100000 %}{{ x.replace('a', x) }}",
    "join": "{% set x = 'a' * 100000 %}{{ range(90000) | join(x) }}",
    "join method": "{% set x = 'a' * 100000 %}{{ x.join(x) }}",
    "join of a generator": "{% set x = 'a' * 100000 %}{{ range(90000) | map('string') | join(x) }}",
    "wordwrap": "{% set x = 'a' * 10000 %}{{ x | wordwrap(1, wrapstring=x) }}",
    "translate": "{{ 'abc'.translate({97: 'x'}) }}",
    "tojson": "{% set x = [1] * 100000 %}{{ x | tojson(indent=100000) }}",
    "long search": "{% set x = 'a' * 9000000 %}{% for i in range(90000) %}{% if 'b' in x %}{% endif %}{% endfor %}",
    "long compare": "{% set x = 'a' * 9000000 %}{% for i in range(90000) %}{{ x[1:] == x[:1] }}{% endfor %}",
    "long filter": "{% set x = 'a' * 9000000 %}{% for i in range(90000) %}{{ (x | upper) is eq 1 }}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "calls": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "recursive loop": "{% for i in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "division": "{{ 1 // 0 }}",
    "insides": "{{ messages | attr('__cla' ~ 'ss__') | string + 'x' }}{{ messages['__cla' ~ 'ss__'].mro() }}",
    "insides by format": "{{ '{0.__class__.mro}'.format(messages) }}",
    "insides of a namespace": "{{ namespace(__class__=1) }}",
}


ATTACKED = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from llmos.core.errors import UserError
from llmos.text import PromptFormat, render_chat
for name, source in json.load(sys.stdin).items():
    try:
        render_chat(PromptFormat(tokenizer="{}", chat_template=source), [{"role": "user", "content": "x"}])
        print(name, "was rendered", sep=": ")
    except UserError as error:
        print(name, error, sep=": ")
"""


# Those that take seconds until their steps are used up.
LASTING = (
    "lists by macro",
    "lists by with",
    "namespaces",
    "nested ranges that filter",
    "join of a generator",
    "tojson",
    "calls",
)


def attack(names: list[str]) -> None:
    """One process for all, which has 2 GiB and may not run out of them."""
    sources = json.dumps({name: ATTACKS[name] for name in names})
    done = subprocess.run([sys.executable, "-c", ATTACKED], input=sources, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(names)
    refused = re.compile(r"chat template (refuses|cannot be used)")
    assert [line for line in lines if not refused.search(line) or "than there is" in line] == []


def test_templates_that_ask_for_too_much_are_refused_in_bounded_time_and_memory():
    attack([name for name in ATTACKS if name not in LASTING])


@pytest.mark.slow
def test_templates_that_ask_for_more_time_are_refused_too():
    attack(list(LASTING))


def test_a_long_conversation_is_within_the_limits(theirs):
    said = [{"role": ("user", "assistant")[i % 2], "content": f"{i} " + "word " * 200} for i in range(801)]
    for name in ("llama", "gemma", "reasoning"):
        compare(theirs, OWN[name], said, {"add_generation_prompt": True, "tools": [TOOL], "date_string": "x"})
    compare(theirs, OWN["chatml"], [{"role": "user", "content": "words " * 1_000_000}], {"add_generation_prompt": True})


MUTATIONS = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 40), st.text("{}%-'()[]|.~*_ aefinorst10", max_size=6)), max_size=4
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(OWN)), cuts=MUTATIONS)
def test_a_mutated_template_renders_or_is_refused(name, cuts):
    source = OWN[name]
    for at, length, new in cuts:
        at %= len(source)
        source = source[:at] + new + source[at + length :]
    try:
        render_chat(format_of(source), [{"role": "user", "content": "x"}], tools=[TOOL])
    except UserError as error:
        assert "chat template" in str(error)
