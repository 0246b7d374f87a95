"""A program with a terminal attached, as a person has it: for the tests of what is typed and seen."""

import os
import pty
import re
import select
import signal
import time


class Terminal:
    """Runs `command` at a pseudo-terminal of its own; `variables` lie over the environment."""

    def __init__(self, command: list[str], **variables: str):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job is born with it ignored
            os.execve(command[0], command, {**os.environ, "TERM": "dumb", **variables})

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
        """Type something."""
        os.write(self.fd, line.encode())

    def leave(self, timeout_s: float = 120) -> int:
        """Exit code of the program, once it has ended by itself."""
        end = os.pidfd_open(self.pid)
        ended = select.select([end], [], [], timeout_s)[0]
        os.close(end)
        if not ended:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        assert ended, "the program did not end"
        return os.waitstatus_to_exitcode(status)
