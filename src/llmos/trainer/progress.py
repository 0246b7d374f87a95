"""What a run says while it works: a JSON line per report in `log.jsonl`, and a progress bar for people."""

import json
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Reporter"]


class Reporter:
    """Use as a context. `step` moves the bar; `event` appends to the log and, with a bar, prints the message above it."""

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
        self.bar = Progress(*columns, console=Console(stderr=True), disable=not visible)
        self.task = self.bar.add_task("training", total=steps, note="")

    def __enter__(self) -> "Reporter":
        self.bar.start()
        return self

    def __exit__(self, *exc_info) -> None:
        self.bar.stop()
        self.file.close()

    def step(self, done: int, note: str) -> None:
        self.bar.update(self.task, completed=done, note=note)

    def event(self, kind: str, message: str = "", **values) -> None:
        self.file.write(json.dumps({"event": kind} | values) + "\n")
        self.file.flush()
        if message:
            self.bar.console.print(message, highlight=False) if not self.bar.disable else None
