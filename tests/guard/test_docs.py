"""The documentation builds, and what it names exists."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmos.core.config import settings
from llmos.core.env import environment
from llmos.models import FAMILIES
from llmos.trainer import Recipe

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path):
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_source_files_that_a_page_names_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:src|tests|recipes|benchmarks)/[\w./-]+\.\w+)`", text))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_is_in_the_site(page: Path):
    assert re.search(rf"\b{re.escape(page.name)}\b", (ROOT / "mkdocs.yml").read_text())


def test_every_family_is_on_its_page():
    named = set(re.findall(r"`([\w-]+)`", (ROOT / "docs/families.md").read_text(encoding="utf-8")))
    assert sorted(FAMILIES.keys() - named) == []


def test_every_environment_variable_is_documented():
    from llmos.core import env

    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    assert [name for name in env._KNOWN if f"`{name}`" not in text] == []
    assert environment({}).log == "warning"


def test_every_verb_is_documented():
    import click

    from llmos.cli.app import cli

    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    assert [name for name in cli.list_commands(click.Context(cli)) if f"| `{name}" not in text] == []


def test_flags_of_train_in_the_pages_are_settings_of_a_recipe():
    known = {setting.name for setting in settings(Recipe)}
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith("llmos train"):
                assert set(re.findall(r"--([\w.]+)", line)) <= known, line


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path):
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed: make docs installs it")
    command = [
        sys.executable,
        "-W",
        "default",
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
