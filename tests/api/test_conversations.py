"""Conversations through `Model`: tools and template arguments reach the template, from a folder and from a bundle."""

import json

import pytest

import llm
from llmos.core.errors import UserError
from llmos.text import PromptFormat, Tokenizer, render_chat
from tests.text.chat_templates import OWN
from tests.tiny_tokenizer import tokenizer_text

pytestmark = [pytest.mark.toolchain, pytest.mark.torch]


def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: its name
    """


SAID = [{"role": "user", "content": "How is it?"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("transformers", reason="transformers is not installed")
    from tests import tiny_checkpoints

    folder = tmp_path_factory.mktemp("chat")
    tiny_checkpoints.llama(vocab_size=260, max_position_embeddings=2048).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer_text(), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    (folder / "chat_template.jinja").write_text(OWN["reasoning"], encoding="utf-8")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("{% for d in documents %}{{ d.text }}{% endfor %}")
    return folder


@pytest.fixture(scope="module")
def models(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "chat.llm"
    llm.compile(str(folder), str(path))
    with llm.load_model(folder) as one, llm.load_model(path) as other:
        yield one, other


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tools": [weather]},
        {"tools": [weather], "template_arguments": {"enable_thinking": False}},
        {"template_arguments": {"chat_template": "rag", "documents": [{"text": "a document"}]}},
    ],
)
def test_what_is_given_reaches_the_template(models, folder, settings):
    format = PromptFormat.load(folder)
    text = render_chat(format, SAID, tools=settings.get("tools"), **settings.get("template_arguments", {}))
    wanted = len(Tokenizer(format).encode(text, special=False))
    answers = []
    for model in models:
        generation = model.generate(SAID, temperature=0, max_tokens=8, **settings)
        assert generation.prompt_tokens == wanted
        answers.append(generation.tokens)
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("prompt", "settings", "named"),
    [
        ("plain", {"tools": [weather]}, "belong to conversations"),
        ("plain", {"template_arguments": {"a": 1}}, "belong to conversations"),
        (SAID, {"tools": weather}, "tools must be a list"),
        (SAID, {"tools": ["weather"]}, "a tool is a JSON schema"),
        (SAID, {"template_arguments": ["a"]}, "template_arguments must be a dict"),
        (SAID, {"template_arguments": {"messages": []}}, "cannot hold 'messages'"),
        (SAID, {"template_arguments": {"chat_template": "other"}}, "no chat template 'other'"),
    ],
)
def test_what_cannot_be_used_is_refused(models, prompt, settings, named):
    with pytest.raises(UserError, match=named):
        models[0].generate(prompt, **settings)


def test_a_model_whose_template_wants_the_unknown_is_refused_when_it_is_loaded(folder, tmp_path):
    for file in folder.iterdir():
        if file.is_file() and file.name != "chat_template.jinja":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").write_text("{{ messages | unheard_of }}")
    with pytest.raises(UserError, match=r"chat template cannot be used \(line 1\): .*unheard_of"):
        llm.load_model(tmp_path)


def test_a_role_that_neither_is_usual_nor_in_the_template_is_told(models):
    with pytest.warns(
        llm.ModelNotice, match="the conversation has the role 'narrator': system, user, assistant"
    ) as told:
        models[0].chat([{"role": "narrator", "content": "Night fell."}, *SAID], max_tokens=1)
    assert told[0].filename == __file__


def test_a_template_that_does_not_exist_is_answered_with_how_to_choose_one(models):
    with pytest.raises(UserError, match=r"choose one with template_arguments=\{'chat_template': 'default'\}"):
        models[0].chat(SAID, template_arguments={"chat_template": "poem"})
