"""Coverage-guided fuzzing of the readers (atheris): `python -m tests.fuzz.fuzz_readers GROUP FOLDER [options of libFuzzer]`.

`make fuzz` runs every group for a while. FOLDER keeps the inputs that reached new code, so that a later run goes on; an input
is the text `SUBJECT FILE` on its first line and the damaged file after it. What crashes is written to FOLDER as well, and the
message names it. Mutations are those of the tests (`damage`), which know the formats, and libFuzzer's own.
"""

import importlib
import os
import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["llmos.weights", "llmos.text", "llmos.artifact", "llmos.models", "llmos.api"]):
    importlib.import_module("llmos.text.template")  # elsewhere loaded late
    from tests.fuzz.subjects import GROUPS, SUBJECTS
    from tests.fuzz.worker import READ, REFUSED, Case

from tests.fuzz.corpus import write_corpus

os.environ["LLMOS_OFFLINE"] = "1"  # an adapter names a base model, which might be one of the Hub

__all__ = ["main"]

_LONGEST = 1 << 20  # bytes of an input


class Target:
    """The subjects of a group as one function of bytes."""

    def __init__(self, corpus: Path, group: str):
        self.cases = {name: Case(corpus, name) for name in GROUPS[group]}

    def seeds(self) -> list[bytes]:
        """One input for each file, undamaged."""
        return [
            _input(name, file, data)
            for name, case in self.cases.items()
            for file, data in case.files.items()
            if len(data) < _LONGEST
        ]

    def run(self, given: bytes) -> None:
        """Raises where a reader does what it must not."""
        name, file, data = self._parts(given)
        kind, words = self.cases[name].outcome(file, data)
        assert kind in (READ, REFUSED), words

    def mutate(self, given: bytes, most_bytes: int, seed: int) -> bytes:
        """A damage of the tests, or one of libFuzzer's."""
        name, file, data = self._parts(given)
        rng = random.Random(seed)
        try:
            data = SUBJECTS[name].damage(rng, file, data) if rng.random() < 0.5 else _changed(data)
        except Exception:  # whatever `zipfile` fails with: damaged beyond being taken apart
            data = _changed(data)
        return _input(name, file, data)[:most_bytes]

    def _parts(self, given: bytes) -> tuple[str, str, bytes]:
        """Subject, file and data; those of an input without them are the first there are."""
        head, _, data = given.partition(b"\n")
        name, _, file = head.decode("utf-8", "replace").partition(" ")
        name = name if name in self.cases else next(iter(self.cases))
        files = self.cases[name].files
        return name, file if file in files else next(iter(files)), data


def _changed(data: bytes) -> bytes:
    return bytes(atheris.Mutate(data, len(data) + 64))


def _input(name: str, file: str, data: bytes) -> bytes:
    return f"{name} {file}\n".encode() + data


def main(group: str, folder: Path, options: list[str]) -> None:
    """Does not come back: libFuzzer ends the process, with an exit status other than 0 where it found something."""
    corpus = Path(tempfile.mkdtemp())  # stays, since nothing runs after the last input
    write_corpus(corpus)
    target = Target(corpus, group)
    inputs = folder / group
    inputs.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(target.seeds()):
        (inputs / f"seed-{i:03}").write_bytes(seed)
    arguments = [sys.argv[0], str(inputs), f"-artifact_prefix={folder}/{group}-", f"-max_len={_LONGEST}"]
    arguments += ["-rss_limit_mb=2048", "-timeout=20", *options]
    atheris.Setup(arguments, target.run, custom_mutator=target.mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
