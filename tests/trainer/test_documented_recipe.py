"""The recipe of docs/trainer.md is whole: it trains, reports in plain lines, and its model runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

pytestmark = [pytest.mark.torch, pytest.mark.toolchain]


def llmos(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, "-m", "llmos.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_documented_recipe_trains_and_its_model_runs(root: Path, tmp_path: Path):
    (recipe,) = re.findall(r"```toml\n(.*?)```", (root / "docs/trainer.md").read_text(encoding="utf-8"), re.S)
    (tmp_path / "recipe.toml").write_text(recipe)
    pages = sorted((root / "docs").glob("*.md"))
    (tmp_path / "text.txt").write_text("\n".join(page.read_text(encoding="utf-8") for page in pages))
    few = ("--schedule.steps", "12", "--schedule.warmup_steps", "2", "--schedule.decay_steps", "4", "--compile", "no")
    done = llmos(tmp_path, "train", "recipe.toml", *few)
    assert "12 steps; the model is in run/model" in done.stdout
    assert re.search(r"^step 0 of 12, bf16, eager", done.stderr, re.M), done.stderr
    assert "\x1b" not in done.stderr
    again = llmos(tmp_path, "train", "recipe.toml", *few[:1], "10", *few[2:])
    assert "12 steps are done already, more than schedule.steps = 10: none is added" in again.stderr
    assert llmos(tmp_path, "run", "run/model", "The model", "--max-tokens", "5", "--greedy").stdout
