"""What the README tells people to type works as it stands, with an empty home and nothing prepared."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home and a `llmos` command, in which the commands run one after another."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "home").mkdir()
    command = folder / "llmos"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llmos.cli "$@"\n')
    command.chmod(0o755)
    return folder


def shell(line: str, place: Path, cwd: Path) -> subprocess.CompletedProcess:
    kept = {name: os.environ[name] for name in ("LLMOS_CACHE", "PYTHONPATH") if name in os.environ}
    variables = {"PATH": f"{place}:{os.environ['PATH']}", "HOME": str(place / "home"), **kept}
    run = {"capture_output": True, "text": True, "env": variables, "stdin": subprocess.DEVNULL, "timeout": 900}
    return subprocess.run(["bash", "-euo", "pipefail", "-c", line], cwd=cwd, **run)


def test_the_readme_names_the_two_commands_of_a_newcomer():
    assert {"make run", "make test"} <= set(commands())


@pytest.mark.toolchain
@pytest.mark.parametrize("line", [line for line in commands() if not line.startswith("make ")])
def test_commands_of_the_readme_run(line: str, place: Path):
    done = shell(line, place, place)
    assert done.returncode == 0, done.stderr
    assert done.stdout or " -o " in line  # a story may end before its first word: the seeds are drawn


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("make ")])
def test_make_targets_of_the_readme_exist(line: str, place: Path):
    done = shell(f"{line} --dry-run", place, ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.toolchain
@pytest.mark.parametrize("code", blocks("python"))
def test_python_of_the_readme_runs(code: str, place: Path):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_files_that_the_readme_points_to_exist():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


@pytest.mark.slow
@pytest.mark.toolchain
def test_make_run_tells_a_story_on_a_fresh_clone_and_again_at_once(place: Path):
    """Installs from the package index or from what pip has at hand: needs one of the two."""
    clone = place / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    settings = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    variables = {**settings, "PATH": os.environ["PATH"], "HOME": str(place / "home")}
    python = shutil.which("python3") or sys.executable
    first = subprocess.run(
        ["make", f"PYTHON={python}", "run"], cwd=clone, env=variables, capture_output=True, text=True, timeout=1800
    )
    assert first.returncode == 0, first.stderr
    again = subprocess.run(["make", "run"], cwd=clone, env=variables, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0, again.stderr
    assert "pip" not in again.stdout + again.stderr
    assert len(again.stdout) > 20
