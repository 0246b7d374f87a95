"""Damaged files of every format: an error of ours or a correct result; no crash, no hang, no memory that the file gives no reason for.

Every case is a name and a seed, which give the same file each time: `pool.run_cases(corpus, [(name, seed)])` runs one.
"""

import signal
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("gguf", reason="gguf is not installed")
pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")

from tests.fuzz.corpus import write_corpus
from tests.fuzz.pool import Result, run_cases
from tests.fuzz.subjects import GROUPS, SUBJECTS

FAST, MANY = 600, 20_000


def test_every_subject_is_fuzzed_by_coverage_too():
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(SUBJECTS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


def cases(n: int, first: int = 0) -> list[tuple[str, int]]:
    """About n of them, shared out by the weights of the subjects."""
    each = n / sum(subject.weight for subject in SUBJECTS.values())
    return [(name, first + i) for name, subject in SUBJECTS.items() for i in range(round(each * subject.weight))]


def check(results: list[Result], n: int) -> None:
    bad = [str(result) for result in results if not result.good]
    assert not bad, f"{len(bad)} of {len(results)}:\n" + "\n".join(bad[:10])
    kinds = Counter((result.name, result.kind) for result in results)
    assert len(results) > 0.98 * n
    of_each = n // 4000  # damage that every reader refuses, or takes, would test little
    assert all(min(kinds[name, "read"], kinds[name, "refused"]) >= of_each for name in SUBJECTS), kinds


def test_damaged_files_are_refused_or_read(corpus):
    check(run_cases(corpus, cases(FAST)), FAST)


@pytest.mark.slow
def test_many_more_damaged_files_are_refused_or_read(corpus):
    check(run_cases(corpus, cases(MANY, first=1000)), MANY)


def test_a_reader_that_dies_swells_or_reads_something_else_is_noticed(corpus):
    """The test of the test; the worker after the one that died goes on."""
    results = run_cases(corpus, [("dies", 0), ("swells", 0), ("changes", 0)], workers=1)
    assert [result.kind for result in results] == ["died", "wrong", "wrong"]
    assert "MemoryError" in results[1].words and "differs in bytes" in results[2].words


@pytest.mark.slow
def test_a_reader_that_does_not_end_is_noticed(corpus):
    (result,) = run_cases(corpus, [("spins", 0)], workers=1)
    assert result.kind == "died" and f"exit -{signal.SIGXCPU}" in result.words
