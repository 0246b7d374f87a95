"""What a run says while it works: a JSON line per report in `log.jsonl`; a progress bar at a terminal, lines elsewhere."""

import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Reporter"]


_LINE_EVERY_S = 30


class Reporter:
    """Use as a context. `step` moves the bar; `event` appends to the log and prints the message above the bar.

    visible: whether to say anything on stderr. Where that is no terminal, a line of plain text comes now and then.
    """

    def __init__(self, log: Path, steps: int, visible: bool):
        log.parent.mkdir(parents=True, exist_ok=True)
        self.file = log.open("a", encoding="utf-8")
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        at_terminal = visible and sys.stderr.isatty()
        self.lines, self.said_s = visible and not at_terminal, 0.0
        self.bar = Progress(*columns, console=Console(stderr=True), disable=not at_terminal)
        self.task = self.bar.add_task("training", total=steps, note="")

    def __enter__(self) -> "Reporter":
        self.bar.start()
        return self

    def __exit__(self, *exc_info) -> None:
        self.bar.stop()
        self.file.close()

    def step(self, done: int, note: str) -> None:
        self.bar.update(self.task, completed=done, note=note)
        if self.lines and time.monotonic() - self.said_s > _LINE_EVERY_S:
            self._say(f"step {done}: {note}")
            self.said_s = time.monotonic()

    def event(self, kind: str, message: str = "", **values) -> None:
        self.file.write(json.dumps({"event": kind} | values) + "\n")
        self.file.flush()
        if message:
            self._say(message)

    def _say(self, message: str) -> None:
        if self.lines:
            print(message, file=sys.stderr, flush=True)
        elif not self.bar.disable:
            self.bar.console.print(message, highlight=False)
