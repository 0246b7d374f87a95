"""A conversation, at a pseudo-terminal as a person would have it."""

import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.toolchain


class Terminal:
    """`llmos run` with a terminal attached."""

    def __init__(self, state: Path, *args: str):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job is born with it ignored
            variables = {**os.environ, "XDG_STATE_HOME": str(state), "TERM": "dumb"}
            os.execve(sys.executable, [sys.executable, "-m", "llmos.cli", "run", "--max-tokens", "6", *args], variables)
        self.seen = ""

    def expect(self, pattern: str, timeout_s: float = 120) -> str:
        """Read until the text since the last match holds the pattern; return what was read."""
        deadline = time.monotonic() + timeout_s
        text = ""
        while not re.search(pattern, text):
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"waiting for {pattern!r}, read {text!r}"
            try:
                text += os.read(self.fd, 4096).decode(errors="replace")
            except OSError:  # the other side is closed
                assert re.search(pattern, text), text
        return text

    def say(self, line: str) -> None:
        os.write(self.fd, line.encode())

    def leave(self, timeout_s: float = 60) -> int:
        """Exit code of the command, once it has ended by itself."""
        end = os.pidfd_open(self.pid)
        ended = select.select([end], [], [], timeout_s)[0]
        os.close(end)
        if not ended:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        assert ended, "the command did not end"
        return os.waitstatus_to_exitcode(status)


def test_a_conversation_obeys_its_commands_and_keeps_its_history(tmp_path: Path):
    terminal = Terminal(tmp_path)
    terminal.expect("> ")
    terminal.say("Hello there\n")
    assert len(terminal.expect("\r\n.*\r\n> ")) > len("Hello there\r\n> ")
    terminal.say("/dance\n")
    terminal.expect("/dance is not a command(.|\n)*> ")
    terminal.say("/reset\n")
    terminal.expect("forgotten(.|\n)*> ")
    terminal.say("/exit\n")
    assert terminal.leave() == 0
    assert "Hello there" in (tmp_path / "llmos" / "history").read_text()


def test_end_of_input_leaves_the_conversation(tmp_path: Path):
    terminal = Terminal(tmp_path, "--raw")
    terminal.expect("> ")
    terminal.say("\x04")
    assert terminal.leave() == 0


def test_ctrl_c_at_the_prompt_leaves_with_130(tmp_path: Path):
    terminal = Terminal(tmp_path)
    terminal.expect("> ")
    terminal.say("\x03")
    assert terminal.leave() == 130


def test_an_answer_is_stopped_by_ctrl_c_and_the_conversation_goes_on(tmp_path: Path):
    terminal = Terminal(tmp_path, "--max-tokens", "100000", "--raw")
    terminal.expect("> ")
    terminal.say("Once upon a time\n")
    terminal.expect("time\r\n(.|\n)*[a-z]")
    terminal.say("\x03")
    terminal.expect("> ")
    terminal.say("/exit\n")
    assert terminal.leave() == 0
