"""Which code was measured, and whether it is still the code."""

import subprocess
from pathlib import Path

__all__ = ["commit", "same_code"]

ROOT = Path(__file__).resolve().parents[1]


def commit() -> str | None:
    return _git("rev-parse", "--short", "HEAD").stdout.strip() or None


def same_code(commit: str) -> bool:
    """Whether src/ is as it was at a commit. A commit that is unknown here is taken for another code."""
    return _git("diff", "--quiet", commit, "--", "src").returncode == 0


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, 127, "", "git is not installed")
