"""The page about the command line has every flag of every verb, with the default that its help states."""

import re
from pathlib import Path

import click
import pytest

from llmos.api.sampling import Settings
from llmos.cli.app import cli

PAGE = (Path(__file__).resolve().parents[2] / "docs/cli.md").read_text(encoding="utf-8")
VERBS = [
    name for name in cli.list_commands(click.Context(cli)) if name != "train"
]  # derived: tests/guard/test_config.py


def options(verb: str) -> list[click.Option]:
    command = cli.get_command(click.Context(cli), verb)
    return [param for param in command.params if isinstance(param, click.Option) and param.name != "help"]


def rows(verb: str) -> list[list[str]]:
    section = re.search(rf"^## {verb}$(.*?)(?=^## )", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert section, verb
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section[1].splitlines() if line[:1] == "|"
    ]


def stated_default(option: click.Option) -> str:
    """What stands in brackets at the end of the help; a flag without is off."""
    found = re.search(r"\[([^]]+)\]\.?$", option.help)
    return found[1] if found else "off" if option.is_flag else ""


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_is_on_the_page_with_its_default(verb: str):
    for option in options(verb):
        names = [f"`{name}" for name in (*option.opts, *option.secondary_opts)]
        found = [row for row in rows(verb) if all(re.search(re.escape(n) + r"[ `]", row[0]) for n in names)]
        assert len(found) == 1, (verb, names)
        assert stated_default(option), f"{verb} {names}: the help states no default"
        assert found[0][1] == stated_default(option), (verb, names)


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_has_no_flag_that_does_not_exist(verb: str):
    known = {name for option in options(verb) for name in (*option.opts, *option.secondary_opts)}
    if known:
        assert {flag for row in rows(verb)[2:] for flag in re.findall(r"`(--?[\w-]+)", row[0])} <= known


def test_tables_have_as_many_cells_in_every_row():
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_stated_defaults_of_sampling_are_those_of_the_settings():
    stated = {option.name: stated_default(option) for option in options("run")}
    for name in ("max_tokens", "temperature", "top_p", "top_k", "min_p", "overflow"):
        assert stated[name].endswith(f"{getattr(Settings(), name):g}" if name != "overflow" else "error"), name
