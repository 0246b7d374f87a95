"""The shape of the tree: files of one idea, nothing of one machine, no lumber rooms."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt|opt)/[\w.-]+")
LUMBER = {"utils", "helpers", "common", "misc", "manager", "util", "helper"}


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    out = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if out.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in out.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_no_file_is_longer_than_600_lines(tracked: list[Path]):
    code = [path for path in tracked if path.suffix in {".py", ".h", ".cc", ".md"} and path.name != "LICENSE"]
    assert [path for path in code if len(path.read_text(encoding="utf-8").splitlines()) > 600] == []


def test_no_tracked_file_names_a_path_of_one_machine(tracked: list[Path]):
    wrong = []
    for path in tracked:
        if path == Path(__file__) or path.stat().st_size > 2_000_000:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if path.suffix in {".json", ".jsonl"}:
            continue
        wrong += [f"{path}: {match[0]}" for match in MACHINE.finditer(text)]
    assert wrong == []


def test_no_module_is_a_lumber_room(tracked: list[Path]):
    assert [path for path in tracked if path.stem in LUMBER] == []


def test_every_source_file_says_what_it_is(tracked: list[Path]):
    import ast

    silent = []
    for path in tracked:
        if (
            path.suffix == ".py"
            and path.is_relative_to(ROOT / "src")
            and not ast.get_docstring(ast.parse(path.read_text()))
        ):
            silent.append(path)
    assert silent == []


def test_the_environment_is_read_in_one_place(tracked: list[Path]):
    reads = re.compile(r'os\.(environ\b(?!\.setdefault\("TOKENIZERS_PARALLELISM")|getenv)')
    allowed = {
        ROOT / "src/llmos/core/env.py",
        ROOT / "src/llmos/compiler/toolchain.py",
    }  # the latter hands it to a child
    sources = [path for path in tracked if path.suffix == ".py" and path.is_relative_to(ROOT / "src")]
    assert [path for path in sources if path not in allowed and reads.search(path.read_text())] == []
