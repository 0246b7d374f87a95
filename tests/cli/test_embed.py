"""`llmos embed` as a user meets it: the vectors of `Model.embed`, as lines or as a file."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import llm
from tests.embedding_model import folder

pytestmark = pytest.mark.toolchain
MODEL = str(folder())
TEXTS = ["A cat sat.", "zwei Wörter", ""]


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    with llm.load_model(MODEL) as model:
        return model.embed(TEXTS)


def llmos(*args: str, given: str = "") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "llmos.cli", "embed", *args]
    return subprocess.run(command, input=given, capture_output=True, encoding="utf-8", timeout=300, env=os.environ)


def vectors(lines: str) -> np.ndarray:
    return np.array([json.loads(line)["embedding"] for line in lines.splitlines()], np.float32)


def test_lines_of_standard_input_become_lines_of_json(expected):
    done = llmos(MODEL, given="\r\n".join(TEXTS) + "\r\n")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == TEXTS
    np.testing.assert_array_equal(vectors(done.stdout), expected)


def test_texts_are_arguments_or_lines_of_a_file_and_vectors_go_to_a_file(expected, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS[:2]), encoding="utf-8")
    done = llmos(MODEL, "--file", str(tmp_path / "in.txt"), "-o", str(tmp_path / "out.npy"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected[:2])
    done = llmos(MODEL, TEXTS[0], "--no-normalize", "--pooling", "cls", "-o", str(tmp_path / "out.jsonl"))
    assert done.returncode == 0, done.stderr
    [vector] = vectors((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    assert abs(np.linalg.norm(vector) - 1) > 0.1


def test_long_texts_are_refused_or_cut_and_told(tmp_path):
    done = llmos(MODEL, "a b c d e f", "--max-tokens", "5")
    assert done.returncode == 2
    assert "has 8 tokens, 5 is the most: split it, or pass --truncate end" in done.stderr
    done = llmos(MODEL, "a b c d e f", "--max-tokens", "5", "--truncate", "end")
    assert done.returncode == 0
    assert "a text was cut to 5 tokens: it had 8" in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([MODEL, "x", "-o", "vectors.csv"], "must end in .npy or .jsonl"),
        ([MODEL, "x", "--file", "y"], "not both"),
        ([MODEL, "--file", "no-such-file"], "cannot read no-such-file"),
        ([MODEL, "x", "--prompt-name", "query"], "no prompt 'query'"),
    ],
)
def test_what_cannot_be_done_says_why(args, message):
    done = llmos(*args)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_run_refuses_an_encoder():
    done = subprocess.run(
        [sys.executable, "-m", "llmos.cli", "run", MODEL, "Hello"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2
    assert "is an encoder" in done.stderr
