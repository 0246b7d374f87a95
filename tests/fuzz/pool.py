"""Many cases over a few workers: what became of each, also where a worker died of it or did not come back."""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Result", "run_cases"]

_LONGEST_WAIT_S = 120  # for one case; processor time is limited far below, so this is a case that waits for something


@dataclass(frozen=True, kw_only=True)
class Result:
    """kind: read, refused, or anything else, which is a bug. seconds: of processor time."""

    name: str
    seed: int
    kind: str
    words: str
    file: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return self.kind in ("read", "refused")

    def __str__(self) -> str:
        return f"{self.name} {self.seed} ({self.file}): {self.kind}: {self.words}"


def run_cases(corpus: Path, cases: Sequence[tuple[str, int]], workers: int = 2) -> list[Result]:
    """The results of cases (subject, seed), in no order. corpus: is copied, so that it stays as it is."""
    parts = [cases[i::workers] for i in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        return [
            result for results in pool.map(lambda part: list(_of_worker(corpus, part)), parts) for result in results
        ]


def _of_worker(corpus: Path, cases: Sequence[tuple[str, int]]) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as place:
        worker = None
        for name, seed in cases:
            worker = worker or _Worker(corpus, Path(place))
            result = worker.run(name, seed)
            yield result
            if worker.dead:
                worker = None
        if worker:
            worker.stop()


class _Worker:
    """A worker process with a copy of the corpus of its own."""

    def __init__(self, corpus: Path, place: Path):
        own = place / "corpus"
        shutil.rmtree(own, ignore_errors=True)
        shutil.copytree(corpus, own)
        self.dead, self._errors = False, (place / "stderr").open("w+b")
        command = [sys.executable, "-m", "tests.fuzz.worker", str(own)]
        root = Path(__file__).resolve().parents[2]
        offline = os.environ | {"LLMOS_OFFLINE": "1"}  # an adapter names a base model, which might be one of the Hub
        self._process = subprocess.Popen(
            command, stdin=-1, stdout=-1, stderr=self._errors, text=True, cwd=root, env=offline
        )

    def run(self, name: str, seed: int) -> Result:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(f"{name} {seed}\n")
            self._process.stdin.flush()
            ready = select.select([self._process.stdout], [], [], _LONGEST_WAIT_S)[0]
            answer = self._process.stdout.readline() if ready else ""
        except BrokenPipeError:
            ready, answer = [True], ""
        if answer:
            return Result(name=name, seed=seed, **json.loads(answer))
        return Result(name=name, seed=seed, kind="died" if ready else "hangs", words=self.stop())

    def stop(self) -> str:
        """End the process. Returns its exit status and last words."""
        self.dead = True
        try:
            self._process.communicate(timeout=5)  # ends its input, and with it the worker
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.communicate()
        status = self._process.returncode
        self._errors.seek(0)
        words = self._errors.read()[-3000:].decode("utf-8", "replace")
        self._errors.close()
        return f"exit {status}: {words}"
