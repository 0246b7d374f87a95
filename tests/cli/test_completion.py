"""Completion as a person has it: in a bash, with the key."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.pseudo_terminal import Terminal

BASH = shutil.which("bash")


@pytest.fixture
def bash(tmp_path: Path):
    """An interactive bash that has read our script, in a folder with a file `story.llm`."""
    if BASH is None:
        pytest.skip("there is no bash here")
    command = tmp_path / "bin" / "llmos"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llmos.cli "$@"\n')
    command.chmod(0o755)
    (tmp_path / "story.llm").write_bytes(b"")
    path = f"{command.parent}:{os.environ['PATH']}"
    terminal = Terminal([BASH, "--norc", "--noprofile", "-i"], PATH=path, PS1="ready> ", HF_HOME=str(tmp_path / "hf"))
    terminal.expect("ready> $")
    terminal.say(f"cd {tmp_path} && source <(llmos completion bash) && echo so''urced\n")
    terminal.expect("sourced(.|\n)*ready> $")
    yield terminal
    terminal.say("\x15exit\n")
    terminal.leave()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("llmos doc", "llmos doctor "),
        ("llmos run --max", "llmos run --max-tokens "),
        ("llmos run llmos-", "llmos run llmos-mini "),
        ("llmos info tiny", "llmos info tinyllama "),
        ("llmos compile smollm2-1", "llmos compile smollm2-135m "),
        ("llmos compile gpt2 --weights b", "llmos compile gpt2 --weights bf16 "),
        ("llmos compile gpt2 --target port", "llmos compile gpt2 --target portable "),
        ("llmos run sto", "llmos run story.llm "),
        ("llmos info ./sto", "llmos info ./story.llm "),
    ],
)
def test_the_tab_key_completes_in_bash(bash: Terminal, typed: str, completed: str):
    bash.say(typed + "\t")
    bash.expect(completed)


def test_a_prompt_is_not_completed(bash: Terminal):
    bash.say("llmos run gpt2 llmos-\t.")
    assert "llmos-mini" not in bash.expect(r"llmos-\S*\.")
