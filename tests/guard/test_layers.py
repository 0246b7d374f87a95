"""Imports point down the list of layers, so that a newcomer can read the packages from the ground up."""

import ast
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).resolve().parents[2] / "src" / "llmos"

# A package may import those in lines above its own; packages of one line do not know each other.
LAYERS = (
    {"core"},
    {"artifact", "comm", "hardware", "models", "native", "text", "weights"},
    {"ledger", "ops", "plan"},
    {"compiler", "daemon", "hub", "runtime", "trainer"},
    {"api"},
    {"libraries", "tools"},
    {"server"},
    {"studio"},
    {"cli"},
)
RANK = {package: i for i, row in enumerate(LAYERS) for package in row}

# torch belongs to those who compute with it; everyone else starts without it.
TORCH_IN = {"ops", "trainer"}


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each absolute or relative import in a file, lazy ones and those for types too."""
    here = path.relative_to(SRC.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names if module == SRC.name)


def sources() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def test_every_package_has_a_layer():
    packages = {path.name for path in SRC.iterdir() if (path / "__init__.py").exists()}
    assert packages <= RANK.keys()


def test_imports_point_down():
    wrong = []
    for path in sources():
        mine = path.relative_to(SRC).parts[0]
        for line, name in imported(path):
            parts = name.split(".")
            if mine not in RANK or parts[0] != SRC.name or len(parts) < 2 or parts[1] not in RANK or parts[1] == mine:
                continue
            if RANK[parts[1]] >= RANK[mine]:
                wrong.append(f"{path}:{line}: {mine} must not import {parts[1]}")
    assert not wrong, "\n".join(wrong)


def test_core_needs_the_standard_library_only():
    import sys

    wrong = []
    for path in sources():
        if path.relative_to(SRC).parts[0] == "core":
            for line, name in imported(path):
                if name.split(".")[0] not in sys.stdlib_module_names | {SRC.name}:
                    wrong.append(f"{path}:{line}: {name}")
    assert not wrong, "\n".join(wrong)


def test_torch_stays_where_it_belongs():
    wrong = []
    for path in sources():
        if path.relative_to(SRC).parts[0] not in TORCH_IN:
            wrong += [
                f"{path}:{line}: {name}"
                for line, name in imported(path)
                if name.split(".")[0] in ("torch", "transformers")
            ]
    assert not wrong, "\n".join(wrong)
