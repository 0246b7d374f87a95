"""An interrupt that nothing tells the sleeping prompt about: it must be heard all the same."""

import os
import sys
from pathlib import Path

import pytest

from tests.pseudo_terminal import Terminal

# A thread raises SIGINT on itself once the prompt sleeps, so that the flag is set and the main thread's sleep goes on: what
# happens to a ctrl-C that comes between the prompt and select, at will.
ASK = """
import signal, sys, threading
{editing}
from llmos.cli.interrupts import heard_interrupts

def tell():
    open(sys.argv[1]).read()
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

threading.Thread(target=tell, daemon=True).start()
try:
    with heard_interrupts():
        input("ready> ")
except KeyboardInterrupt:
    assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1
    sys.exit(77)
"""


@pytest.mark.parametrize("editing", ["import readline", ""], ids=["readline", "plain"])
def test_an_interrupt_that_breaks_no_sleep_is_heard_at_the_prompt(editing: str, tmp_path: Path):
    os.mkfifo(tmp_path / "go")
    terminal = Terminal([sys.executable, "-c", ASK.format(editing=editing), str(tmp_path / "go")])
    terminal.expect("ready> ")
    (tmp_path / "go").write_text("")
    assert terminal.leave(30) == 77
