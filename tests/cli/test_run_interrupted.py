"""Ctrl-C while `llmos run` generates: what was said stays, one exit code, no traceback."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmos.models import shapes, sources, spec_from_config
from tests.tiny_programs import CONFIG
from tests.tiny_tokenizer import tokenizer_text

pytestmark = pytest.mark.toolchain
LONG = CONFIG | {"vocab_size": 260, "max_position_embeddings": 200_000}


def endless_model(folder: Path) -> Path:
    """A checkpoint of random numbers that names no token to end with: it talks for minutes."""
    spec, rng = spec_from_config(LONG), np.random.default_rng(0)
    tensors = {s.name: rng.normal(0.1, 0.3, shapes(spec)[n]).astype(np.float32) for n, s in sources(spec).items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(LONG))
    (folder / "tokenizer.json").write_text(tokenizer_text(), encoding="utf-8")
    return folder


def test_ctrl_c_while_generating_leaves_with_130_and_what_was_said(tmp_path: Path):
    verb = [sys.executable, "-m", "llmos.cli", "run", str(endless_model(tmp_path)), "abc", "--max-tokens", "190000"]
    process = subprocess.Popen(
        [*verb, "--context", "200000", "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job is born with it ignored
    )
    assert process.stdout is not None
    first = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert first
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    assert len(errors.splitlines()) <= 1
