"""What is compiled is held to its checkpoint before anybody gets it."""

import json
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import save_file

import llm
from llmos.api.difference import LIMITS, Limits, compared, limits_of
from llmos.api.opening import open_source
from llmos.api.options import choose_options
from llmos.api.verify import verify
from llmos.artifact import open_bundle
from llmos.core.errors import UserError
from llmos.models import forward, shapes, sources, spec_from_config
from llmos.ops.numpy_ops import NumpyOps
from llmos.ops.stored_ops import StoredOps
from llmos.weights import Tensor, float32_to_bf16
from tests.tiny_programs import CONFIG, CONFIGS

pytestmark = pytest.mark.toolchain


def random_folder(folder, seed: int):
    """A checkpoint without a tokenizer."""
    spec = spec_from_config(CONFIG)
    rng = np.random.default_rng(seed)
    folder.mkdir()
    named = {s.name: rng.normal(0, 0.3, shapes(spec)[n]).astype(np.float32) for n, s in sources(spec).items()}
    save_file(named, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def report_of(path) -> dict:
    return json.loads(path.with_name(path.stem + ".report.json").read_text())


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_definition_over_stored_matrices_is_the_definition(config, dtype):
    spec = spec_from_config(CONFIGS[config])
    rng = np.random.default_rng(3)
    values = {name: rng.normal(0.1, 0.3, shape).astype(np.float32) for name, shape in shapes(spec).items()}
    data = {name: float32_to_bf16(value) if dtype == "bfloat16" else value for name, value in values.items()}
    tensors = {name: Tensor(dtype, stored) for name, stored in data.items()}
    ids, positions = rng.integers(0, spec.vocab, 60).tolist(), np.arange(60)
    plain = {name: tensor.float32() for name, tensor in tensors.items()}
    stored = {name: tensor if tensor.data.ndim == 2 else plain[name] for name, tensor in tensors.items()}
    wanted = forward(NumpyOps(), spec, {n: w.astype(np.float64) for n, w in plain.items()}, ids, positions)
    assert np.abs(forward(StoredOps(), spec, stored, ids, positions) - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("weights", ["float32", "bf16", "int8", "int4"])
def test_a_report_lies_beside_a_bundle_and_names_it(tmp_path, weights):
    made = llm.compile("llmos-mini", tmp_path / "x.llm", weights=weights)
    report = report_of(tmp_path / "x.llm")
    assert report["payload"] == open_bundle(tmp_path / "x.llm").manifest["payload"] and report["beyond"] == []
    assert report["format"] == weights and report["difference"]["tokens"] == 128
    assert str(made).startswith("verified on 128 tokens") and made.n_bytes == (tmp_path / "x.llm").stat().st_size


def test_a_model_past_the_limit_is_not_written_and_what_was_there_stays(tmp_path):
    (tmp_path / "x.llm").write_bytes(b"older")
    with pytest.raises(llm.VerificationError, match=r"compiled with int4 is too far .* 0.0001 allowed.*--max-kl"):
        llm.compile("llmos-mini", tmp_path / "x.llm", weights="int4", max_kl=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["x.llm"]
    assert (tmp_path / "x.llm").read_bytes() == b"older"


def test_what_is_written_unseen_has_no_report(tmp_path):
    llm.compile("llmos-mini", tmp_path / "x.llm")
    made = llm.compile("llmos-mini", tmp_path / "x.llm", weights="int4", verified=False)
    assert made.report is None and [path.name for path in tmp_path.iterdir()] == ["x.llm"]


def test_weights_of_another_checkpoint_are_noticed(tmp_path):
    """Two checkpoints of one shape: a bundle of the first is held to the second."""
    first, second = (random_folder(tmp_path / str(seed), seed) for seed in (1, 2))
    llm.compile(str(first), tmp_path / "x.llm", weights="bf16")
    source = open_source(str(second))
    found = verify(source, choose_options(source, "bf16", None), tmp_path / "x.llm")
    assert any("largest error" in text for text in found.beyond) and found.difference.error > 0.1


def test_nonsense_limits_are_refused(tmp_path):
    with pytest.raises(UserError, match="max_kl"):
        llm.compile("llmos-mini", tmp_path / "x.llm", weights="int4", max_kl=-1)
    with pytest.raises(UserError, match=r"max_kl .* verified=False"):
        llm.compile("llmos-mini", tmp_path / "x.llm", weights="int4", max_kl=0.5, verified=False)


def test_the_coarsest_format_decides():
    assert limits_of(["float32", "bf16"]) == ("bf16", LIMITS["bf16"])
    assert limits_of(["int8", "bf16", "int4"])[0] == "int4"


def test_differences_are_those_of_their_definitions():
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=(50, 30)).astype(np.float32)
    got = wanted + rng.normal(scale=0.1, size=wanted.shape).astype(np.float32)
    ids = rng.integers(0, 30, 49).tolist()
    found = compared(got, wanted, dict(enumerate(ids)), margin=0.0)
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (wanted.astype(float), got.astype(float)))
    rows = np.arange(49)
    perplexity = np.exp(-np.log(q[rows, ids]).mean()) / np.exp(-np.log(p[rows, ids]).mean()) - 1
    assert found.error == pytest.approx(np.abs(got - wanted).max() / np.abs(wanted).max())
    assert found.kl == pytest.approx((p * np.log(p / q)).sum(-1).mean())
    assert found.first == pytest.approx((got.argmax(-1) == wanted.argmax(-1)).mean()) and found.first < 1
    assert found.perplexity == pytest.approx(perplexity)


def test_near_ties_do_not_decide():
    wanted = np.array([[1.0, 0.999, -1.0], [1.0, 0.0, -1.0]], np.float32)
    got = wanted[:, [1, 0, 2]].copy()
    got[1] = wanted[1]
    found = compared(got, wanted, {}, margin=0.01)
    assert found.first == 0.5 and found.first_decided == 1.0 and found.perplexity is None


def test_scores_that_are_no_numbers_pass_no_limit():
    wanted = np.ones((2, 3), np.float32)
    got = np.array([[1, 1, np.nan], [1, 1, 1]], np.float32)
    for a, b in ((got, wanted), (wanted, got)):
        assert compared(a, b, {0: 1}, 0.0).beyond(LIMITS["int4"]) == ["some scores are no numbers"]


def test_scores_are_compared_in_the_memory_of_a_few_rows():
    wanted = np.random.default_rng(0).normal(size=(64, 10_000)).astype(np.float32)
    tracemalloc.start()
    compared(wanted, wanted, {}, 0.0)
    assert tracemalloc.get_traced_memory()[1] < 10 * 8 * 10_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (Limits(error=1e-3, kl=1, first=None, perplexity=None, margin=0), "largest error"),
        (Limits(error=None, kl=1e-3, first=None, perplexity=None, margin=0), "divergence"),
        (Limits(error=None, kl=1, first=0.99, perplexity=None, margin=0), "first choice"),
        (Limits(error=None, kl=1, first=None, perplexity=0.01, margin=0), "perplexity"),
    ],
)
def test_every_limit_can_be_passed(limits, word):
    rng = np.random.default_rng(1)
    wanted = rng.normal(size=(60, 20)).astype(np.float32)
    best = wanted.argmax(-1)
    got = wanted.copy()
    got[np.arange(60), best] -= 0.5  # less sure of what is best, now and then another is
    (said,) = compared(got, wanted, {i: int(id) for i, id in enumerate(best)}, 0.0).beyond(limits)
    assert word in said
