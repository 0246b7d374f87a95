"""Reads damaged files in a process of its own, which may die of it: `python -m tests.fuzz.worker CORPUS`, or one case `... NAME SEED`.

It takes lines `NAME SEED` and answers each with a line of JSON: what became of it, in words, and the processor time. Memory is
limited to what the process has at its start and 1.5 GiB; a case that takes more than 20 s of processor time ends the process.
"""

import json
import os
import random
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path

from llmos.core.errors import LlmosError
from tests.fuzz.subjects import PROBES, SUBJECTS, Parts

__all__ = ["READ", "REFUSED", "Case", "main"]

MOST_BYTES, MOST_SECONDS = 3 << 29, 20
READ, REFUSED, WRONG = "read", "refused", "wrong"


class Case:
    """A subject in a folder of the corpus, whose files are damaged one at a time and restored."""

    def __init__(self, corpus: Path, name: str):
        self.name, self.subject = name, (SUBJECTS | PROBES)[name]
        self.folder = corpus / (self.subject.files or name)
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        self.files = {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}
        self._expected: dict[str, Parts] = {}

    def expected(self, name: str) -> Parts:
        """What is read while no file is damaged; for subjects of several models, of the one that has the file."""
        if name not in self._expected:
            self._expected[name] = self.subject.read(self.folder, name)
        return self._expected[name]

    def damaged(self, seed: int) -> tuple[str, bytes]:
        """A file and what it becomes."""
        rng = random.Random(f"{self.name} {seed}")
        name = rng.choice(list(self.files))
        return name, self.subject.damage(rng, name, self.files[name])

    def outcome(self, name: str, data: bytes) -> tuple[str, str]:
        """What became of reading a damaged file: its kind, and the message or what is wrong."""
        expected = self.expected(name)
        self._replace(name, data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parts = self.subject.read(self.folder, name)
        except LlmosError as error:
            str(error).encode()  # a message has to be shown and logged
            return REFUSED, str(error)
        finally:
            self._replace(name, self.files[name])
        changed = [part for part in parts if self.subject.untouched(part, name) and parts[part] != expected.get(part)]
        return (WRONG, f"differs in {', '.join(changed)}") if changed else (READ, "")

    def _replace(self, name: str, data: bytes) -> None:
        """Another file of the name: the old one may still be mapped and must not shrink."""
        path = self.folder / name
        path.unlink()
        path.write_bytes(data)


def main(corpus: Path) -> None:
    """Answer until the input ends."""
    cases: dict[str, Case] = {}
    _limit_memory()
    for line in sys.stdin:
        name, seed = line.split()
        if name not in cases:
            cases[name] = Case(corpus, name)
        case = cases[name]
        file, data = case.damaged(int(seed))
        case.expected(file)
        _limit_time()
        started = time.process_time()
        try:
            kind, words = case.outcome(file, data)
        except Exception:
            kind, words = WRONG, traceback.format_exc()
        answer = {"kind": kind, "words": words[-4000:], "file": file, "seconds": time.process_time() - started}
        print(json.dumps(answer), flush=True)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _limit_time() -> None:
    """From now on: the system ends a process that has used up its processor time."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + MOST_SECONDS, hard))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
