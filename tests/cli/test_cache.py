"""`llmos cache`: what is kept on the disk, and its end."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from llmos.artifact import writing
from llmos.cli.app import cli

KEY = "0" * 32


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMOS_CACHE", str(tmp_path))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "x.cc").write_text("code")
    facts = {"key": KEY, "model": "some/model", "formats": {"weights": "int4"}}
    with writing(tmp_path / "weights" / f"{KEY}.image", facts, 100_000, len) as writer:
        writer.write(0, memoryview(np.ones(100_000, np.uint8)))
    return tmp_path


def run(*arguments):
    done = CliRunner().invoke(cli, ["cache", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_code_and_weights_are_listed(folder):
    listed = json.loads(run("--json"))
    assert listed["folder"] == str(folder) and listed["limit_bytes"] == 32 << 30
    assert listed["code"] == {"files": 1, "bytes": 4}
    (image,) = listed["weights"]
    assert (image["model"], image["weights"]) == ("some/model", "int4") and image["bytes"] >= 100_000
    text = run()
    assert "some/model, int4, used" in text and "1 files, 4 B" in text and "32.0 GiB allowed" in text


@pytest.mark.parametrize(("part", "left"), [("weights", {"x.cc"}), ("code", {f"{KEY}.image"}), ("all", set())])
def test_what_is_cleared_is_gone_and_the_rest_stays(folder, part, left):
    assert int(json.loads(run("--clear", part, "--json"))["freed_bytes"]) > 0
    assert {path.name for path in folder.rglob("*.*") if path.is_file()} == left


def test_that_none_are_kept_is_told(folder, monkeypatch):
    monkeypatch.setenv("LLMOS_IMAGES", "off")
    assert "LLMOS_IMAGES is off" in run()
