"""A configuration class is the one list of its settings: TOML, flags and Python give equal objects."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from llmos.core.config import from_dict, load_toml, settings, to_dict
from llmos.core.errors import FormatError, UserError


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5
    steps: int = 10

    def __post_init__(self):
        if self.steps < 1:
            raise UserError(f"steps is {self.steps}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Outer:
    folder: Path
    kind: Literal["cosine", "wsd"] = "wsd"
    names: list[str] = field(default_factory=list)
    limit: int | None = None
    inner: Inner = field(default_factory=Inner)


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "x.toml"
    path.write_text(text)
    return path


def test_a_file_becomes_an_object_and_flags_come_before_it(tmp_path):
    path = toml(tmp_path, 'folder = "out"\nnames = ["a"]\n[inner]\nrate = 1\n')
    got = load_toml(Outer, path, {"inner.rate": "3e-4", "kind": "cosine", "limit": "7"})
    assert got == Outer(folder=Path("out"), kind="cosine", names=["a"], limit=7, inner=Inner(rate=3e-4))


def test_plain_data_comes_back_as_the_same_object():
    value = Outer(folder=Path("out"), names=["a", "b"], inner=Inner(steps=3))
    assert from_dict(Outer, to_dict(value)) == value


def test_every_leaf_is_a_setting_with_a_dotted_name():
    assert [setting.name for setting in settings(Outer)] == [
        "folder",
        "kind",
        "names",
        "limit",
        "inner.rate",
        "inner.steps",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('folder = "x"\nkinb = "wsd"', "unknown key 'kinb': did you mean 'kind'"),
        ('folder = "x"\nkind = "cosin"', "kind is 'cosin'; allowed: cosine, wsd .did you mean cosine"),
        ('folder = "x"\n[inner]\nstep = 1', "unknown key 'inner.step': did you mean 'inner.steps'"),
        ('folder = "x"\n[inner]\nsteps = 0', "inner: steps is 0; it must be at least 1"),
        ('folder = "x"\n[inner]\nsteps = 1.5', "inner.steps must be of type int, not 1.5"),
        ('folder = "x"\n[inner]\nsteps = true', "inner.steps must be of type int, not True"),
        ('folder = "x"\ninner = 3', "inner must be a table, not 3"),
        ('folder = "x"\nnames = "a"', "names must be a list, not 'a'"),
        ('kind = "wsd"', "folder is missing; it must be given"),
    ],
)
def test_what_does_not_fit_is_refused_by_key(tmp_path, text, message):
    path = toml(tmp_path, text)
    with pytest.raises(UserError, match=message) as caught:
        load_toml(Outer, path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_toml_is_a_format_error(tmp_path):
    with pytest.raises(FormatError, match="not a TOML file"):
        load_toml(Outer, toml(tmp_path, "folder = "))
    with pytest.raises(UserError, match="cannot read"):
        load_toml(Outer, tmp_path / "absent.toml")
