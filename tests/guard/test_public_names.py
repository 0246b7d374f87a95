"""`__all__` is sorted, complete and true, so that it can be trusted as the list of what a package offers."""

import ast
import importlib
import re
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"


def modules() -> list[str]:
    names = []
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        if parts[-1] != "__main__" and "embedded" not in parts:
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def order(name: str) -> tuple:
    """SCREAMING_CASE, then CamelCase, then the rest; digits by value: as ruff's RUF022 sorts."""
    rank = 0 if name.isupper() else 1 if name[:1].isupper() else 2
    return rank, [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def declared(name: str) -> list[str] | None:
    base = SRC.joinpath(*name.split("."))
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", None) == "__all__" for target in node.targets):
            return ast.literal_eval(node.value) if isinstance(node.value, (ast.List, ast.Tuple)) else None
    return None


@pytest.mark.parametrize("name", modules())
def test_all_is_sorted_and_every_name_exists(name: str):
    names = declared(name)
    if names is None:
        return
    assert names == sorted(names, key=order)
    assert len(set(names)) == len(names)
    module = importlib.import_module(name)
    assert [missing for missing in names if not hasattr(module, missing)] == []


def test_a_package_that_re_exports_says_what():
    silent = []
    for path in sorted(SRC.rglob("__init__.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in tree.body):
            parts = path.relative_to(SRC).parts[:-1]
            if declared(".".join(parts)) is None and parts != ("llmos",):
                silent.append(str(path))
    assert silent == []
