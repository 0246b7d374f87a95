"""Compiled encoders against transformers: hidden rows of whole sequences, side by side in one step."""

import numpy as np
import pytest

from llmos.core.errors import LlmosError
from llmos.runtime import Batch, NativeExecutor, Output, SamplingParameters
from tests.tiny_programs import folder_program, random_program

pytestmark = [pytest.mark.toolchain]
BOUND = {"float32": 1e-4, "bf16": 2e-2, "int8": 5e-2}  # of the largest value


def batch_of(texts: list[list[int]], pages: list[list[int]]) -> Batch:
    """All rows of several sequences, which stand one after another."""
    batch = Batch(block_table=pages, want_hidden=True)
    for row, ids in enumerate(texts):
        batch.outputs += [Output(row=len(batch.token_ids) + i) for i in range(len(ids))]
        batch.token_ids += ids
        batch.positions += range(len(ids))
        batch.sequence += [row] * len(ids)
    return batch


def hidden(program, texts, pages, threads=2) -> list[np.ndarray]:
    n = sum(map(len, texts))
    executor = NativeExecutor(program, threads=threads, n_pages=12, max_tokens=n, max_outputs=n)
    rows = executor.step(batch_of(texts, pages)).hidden
    executor.close()
    return np.split(rows, np.cumsum([len(ids) for ids in texts])[:-1])


@pytest.fixture(scope="module")
def tiny():
    return pytest.importorskip("tests.tiny_encoders", reason="transformers and torch are not installed")


def saved(tiny, case, folder):
    from tests.tiny_checkpoints import save

    model = tiny.CASES[case]()
    return model, save(model, folder)


LENGTHS = (1, 33, 70, 32)
PAGES = [[7], [2, 5], [11, 0, 3], [4]]


def texts_of(vocab: int) -> list[list[int]]:
    rng = np.random.default_rng(5)
    return [rng.integers(2, vocab, n).tolist() for n in LENGTHS]


CASES = ["bert", "bert, one head of odd size", "bert, many heads", "roberta", "distilbert"]
EACH = [*((case, "float32") for case in CASES), ("bert", "bf16"), ("bert", "int8")]


@pytest.mark.torch
@pytest.mark.parametrize(("case", "weights"), EACH)
def test_hidden_rows_are_those_of_transformers(tiny, case, weights, tmp_path):
    model, folder = saved(tiny, case, tmp_path)
    texts = texts_of(model.config.vocab_size)
    program = folder_program(folder, weights, "float32" if weights == "float32" else "bf16")
    for ids, got in zip(texts, hidden(program, texts, PAGES), strict=True):
        expected = tiny.hidden(model, ids)
        assert np.abs(got - expected).max() <= BOUND[weights] * np.abs(expected).max()


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("target", ["portable", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("weights", ["float32", "bf16", "int8"])
@pytest.mark.parametrize("kv", ["float32", "bf16", "int8"])
@pytest.mark.parametrize("case", ["bert", "xlm-roberta", "distilbert"])
def test_every_format_on_every_target(tiny, case, kv, weights, target, tmp_path):
    from llmos.compiler import TARGETS
    from llmos.hardware import features

    if not TARGETS[target].needs <= features():
        pytest.skip(f"cannot run target {target}")
    model, folder = saved(tiny, case, tmp_path)
    texts = texts_of(model.config.vocab_size)
    program = folder_program(folder, weights, kv, target)
    for ids, got in zip(texts, hidden(program, texts, PAGES), strict=True):
        expected = tiny.hidden(model, ids)
        assert np.abs(got - expected).max() <= max(BOUND[weights], BOUND[kv]) * np.abs(expected).max()


@pytest.mark.torch
@pytest.mark.parametrize(("weights", "kv"), [("float32", "float32"), ("bf16", "bf16"), ("int8", "int8")])
def test_a_sequence_gives_the_same_bits_alone_and_in_a_crowd(tiny, weights, kv, tmp_path):
    model, folder = saved(tiny, "bert", tmp_path)
    program, texts = folder_program(folder, weights, kv), texts_of(model.config.vocab_size)
    together = hidden(program, texts, PAGES)
    backwards = hidden(program, texts[::-1], PAGES[::-1], threads=1)[::-1]
    for ids, one, other in zip(texts, together, backwards, strict=True):
        alone = hidden(program, [ids], [[9, 8, 1]], threads=1)[0]
        np.testing.assert_array_equal(one, alone)
        np.testing.assert_array_equal(other, alone)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"positions": [0, 1, 3], "sequence": [0, 0, 0]}, 3),  # with a hole
        ({"positions": [1, 2, 3], "sequence": [0, 0, 0]}, 3),  # without its beginning
        ({"positions": [0, 0, 1], "sequence": [1, 0, 0]}, 5),  # not in the order of the table
        ({"positions": [0, 0, 1], "sequence": [0, 1, 0]}, 5),  # interleaved
    ],
)
def test_a_sequence_that_is_not_whole_is_refused(tiny, change, status, tmp_path):
    _, folder = saved(tiny, "bert", tmp_path)
    executor = NativeExecutor(folder_program(folder, "float32", "float32"), threads=1, n_pages=2)
    batch = Batch(token_ids=[5, 6, 7], block_table=[[0], [1]], **change)
    with pytest.raises(LlmosError, match=f"status {status}"):
        executor.step(batch)
    executor.close()


@pytest.mark.torch
@pytest.mark.parametrize(
    "asked",
    [
        {"want_logits": True, "outputs": [Output(row=0)]},
        {"outputs": [Output(row=0, sampling=SamplingParameters())]},
        {"outputs": [Output(row=0, score=3)]},
        {"n_top": 2, "outputs": [Output(row=0)]},
    ],
)
def test_scores_of_a_model_without_a_head_are_refused(tiny, asked, tmp_path):
    _, folder = saved(tiny, "bert", tmp_path)
    executor = NativeExecutor(folder_program(folder, "float32", "float32"), threads=1, n_pages=2)
    batch = Batch(token_ids=[5], positions=[0], sequence=[0], block_table=[[0]], **asked)
    with pytest.raises(LlmosError, match="status 6"):
        executor.step(batch)
    executor.close()


def test_a_decoder_gives_its_hidden_rows_with_scores_and_without():
    program = random_program("float32", "float32")
    ids = np.random.default_rng(2).integers(0, 120, 40).tolist()
    executor = NativeExecutor(program, threads=1, n_pages=2, max_tokens=64, max_outputs=64)
    batch = batch_of([ids], [[0, 1]])
    alone = executor.step(batch).hidden
    batch.want_logits = True
    both = executor.step(batch)
    assert alone.shape == (40, 64)
    np.testing.assert_array_equal(alone, both.hidden)
    assert np.isfinite(both.logits).all() and np.ptp(both.logits) > 0
    executor.close()


def test_hidden_rows_times_the_head_are_the_scores():
    from llmos.models import shapes, spec_from_config
    from tests.tiny_programs import CONFIG

    spec, rng = spec_from_config(CONFIG), np.random.default_rng(0)
    embed = {n: rng.normal(0.1, 0.3, s).astype(np.float32) for n, s in shapes(spec).items()}["embed"]
    executor = NativeExecutor(random_program("float32", "float32"), threads=1, n_pages=1)
    batch = batch_of([[7, 8, 9]], [[0]])
    batch.want_logits = True
    result = executor.step(batch)
    np.testing.assert_allclose(result.hidden @ embed.T, result.logits, atol=1e-4 * np.abs(result.logits).max())
    executor.close()
