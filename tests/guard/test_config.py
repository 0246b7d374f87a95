"""Configuration has one list: the flags of a command are the fields of its dataclass, and recipes use no other."""

import dataclasses
import typing
from pathlib import Path

import pytest

from llmos.core.config import load_toml, settings
from llmos.trainer import Recipe

ROOT = Path(__file__).resolve().parents[2]


def test_train_help_names_every_setting_of_a_recipe(capsys: pytest.CaptureFixture):
    from llmos.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["train", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert [setting.name for setting in settings(Recipe) if f"--{setting.name} " not in text] == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/*.toml")), ids=lambda path: path.name)
def test_recipes_in_the_tree_are_valid(path: Path):
    assert isinstance(load_toml(Recipe, path), Recipe)


def test_configuration_is_frozen_and_keyword_only():
    def walk(cls: type) -> typing.Iterator[type]:
        yield cls
        for hint in typing.get_type_hints(cls).values():
            if dataclasses.is_dataclass(hint):
                yield from walk(typing.cast(type, hint))

    for cls in walk(Recipe):
        assert cls.__dataclass_params__.frozen, cls
        assert all(field.kw_only for field in dataclasses.fields(cls)), cls
