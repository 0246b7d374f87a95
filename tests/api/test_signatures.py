"""What `help`, editors and notebooks show of the settings is what `Settings` takes: one list, held together here."""

import dataclasses
import inspect
import typing
from pathlib import Path

import pytest

import llm
from llmos.api.model_defaults import TAKEN
from llmos.api.sampling import SettingKeywords, Settings

METHODS = ("chat", "generate", "generate_text", "generate_tokens", "start", "stream_text")
FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


def optional(hint):
    return hint if type(None) in typing.get_args(hint) else hint | None


def test_the_keywords_of_editors_are_the_settings():
    keywords = typing.get_type_hints(SettingKeywords)
    assert list(keywords) == list(FIELDS)
    wider = {"stop", "logit_bias"}
    for name, hint in typing.get_type_hints(Settings).items():
        assert name in wider or keywords[name] == optional(hint), name


@pytest.mark.parametrize("method", METHODS)
def test_signatures_show_every_setting_with_its_default(method: str):
    parameters = inspect.signature(getattr(llm.Model, method)).parameters
    shown = {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert list(shown) == list(FIELDS)
    assert not [p for p in parameters.values() if p.kind is p.VAR_KEYWORD]
    for name, parameter in shown.items():
        later = name in TAKEN or FIELDS[name].default is dataclasses.MISSING
        assert parameter.default == (None if later else FIELDS[name].default), name
        assert parameter.annotation is not parameter.empty


def test_help_shows_the_settings():
    text = inspect.getdoc(llm.Model.generate_text) + str(inspect.signature(llm.Model.generate_text))
    assert "max_tokens: int = 128" in text
    assert "temperature: float | None = None" in text
    assert [name for name in FIELDS if f"{name}" not in inspect.getdoc(llm.Model.generate_text)] == []


def test_the_page_shows_every_setting_with_its_default(root: Path):
    page = (root / "docs/python.md").read_text(encoding="utf-8")
    for name, field in FIELDS.items():
        line = next((line for line in page.splitlines() if line.startswith("|") and f"`{name}`" in line), "")
        assert line, name
        if field.default is not dataclasses.MISSING and name != "seed":
            cells = [cell.strip() for cell in line.split("|")]
            assert str(field.default) in cells[2] or repr(field.default).replace("'", '"') in cells[2], (name, cells)
