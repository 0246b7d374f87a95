"""A conversation, at a pseudo-terminal as a person would have it."""

import sys
from pathlib import Path

import pytest

from tests.pseudo_terminal import Terminal

pytestmark = pytest.mark.toolchain


def conversation(state: Path, *args: str) -> Terminal:
    """`llmos run` at its first prompt."""
    terminal = Terminal([sys.executable, "-m", "llmos.cli", "run", *args], XDG_STATE_HOME=str(state))
    terminal.expect("> $")
    return terminal


def test_a_conversation_obeys_its_commands_and_keeps_its_history(tmp_path: Path):
    terminal = conversation(tmp_path, "--max-tokens", "6", "--raw", "--greedy")
    terminal.say("Hello there\n")
    answer = terminal.expect(r"\r\n(.|\n)*\n> $")
    assert answer.removeprefix("Hello there").removesuffix("> ").strip()
    terminal.say("/dance\n")
    terminal.expect(r"/dance is not a command(.|\n)*> $")
    terminal.say("/reset\n")
    terminal.expect(r"forgotten(.|\n)*> $")
    terminal.say("/exit\n")
    assert terminal.leave() == 0
    assert "Hello there" in (tmp_path / "llmos" / "history").read_text()


def test_a_conversation_longer_than_the_context_goes_on_without_its_oldest_part_and_says_so_once(tmp_path: Path):
    terminal = conversation(tmp_path, "--max-tokens", "4", "--greedy", "--context", "64")
    seen = ""
    for i in range(8):
        terminal.say(f"The old house number {i} by the sea.\n")
        seen += terminal.expect(r"\r\n(.|\n)*\n> $")
    assert " ".join(seen.split()).count("its oldest part is left out") == 1
    terminal.say("word " * 100 + "\n")
    assert "shorten it" in terminal.expect(r"llmos: (.|\n)*\n> $")
    terminal.say("/reset\n")
    terminal.expect(r"forgotten(.|\n)*> $")
    terminal.say("/exit\n")
    assert terminal.leave() == 0


def test_end_of_input_leaves_the_conversation(tmp_path: Path):
    terminal = conversation(tmp_path, "--raw")
    terminal.say("\x04")
    assert terminal.leave() == 0


def test_ctrl_c_at_the_prompt_leaves_with_130(tmp_path: Path):
    terminal = conversation(tmp_path)
    terminal.say("\x03")
    assert terminal.leave() == 130


def test_an_answer_is_stopped_by_ctrl_c_and_the_conversation_goes_on(tmp_path: Path, endless: Path):
    terminal = conversation(tmp_path, str(endless), "--context", "65536", "--max-tokens", "65000", "--raw", "--greedy")
    terminal.say("Once upon a time\n")
    terminal.expect(r"time\r\n(.|\n)*[a-z]")
    terminal.say("\x03")  # not read further: the answer would fill the terminal's buffer and wait, long before its end
    terminal.expect(r"\n> $")
    terminal.say("/exit\n")
    assert terminal.leave() == 0
