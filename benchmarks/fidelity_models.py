"""The difference of every family to transformers in float64, on the tiny random models of the tests."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmos.compiler import FORMATS
from llmos.models import FAMILIES, encode, forward, memories, shapes, sources, spec_from_config
from llmos.ops.numpy_ops import NumpyOps
from llmos.runtime import Batch, NativeExecutor, Output, Program
from llmos.weights import Parameters, open_checkpoint
from tests import tiny_checkpoints, tiny_encoders
from tests.models.test_encoder_decoder import CASES as READERS
from tests.models.test_encoder_decoder import random_t5
from tests.tiny_programs import program

__all__ = ["error", "families", "number"]

_LENGTH = 41  # tokens: two pages of keys and values


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model of transformers and what it gives for some ids. by_numpy, compiled: the same from us, as (T, n) arrays."""

    name: str
    expected: np.ndarray
    by_numpy: Callable[[], np.ndarray]
    compiled: Callable[[str], np.ndarray]


def decoder(name: str) -> Case:
    model = tiny_checkpoints.CASES[name]()
    spec, found = _saved(model)
    ids = _ids(spec.vocab, _LENGTH)
    return Case(
        name=name,
        expected=tiny_checkpoints.logits(model.double(), ids),
        by_numpy=lambda: forward(NumpyOps(), spec, _float64(found), ids, np.arange(len(ids))),
        compiled=lambda kind: _step(program(spec, found, kind, _kv(kind)), ids).logits,
    )


def encoder(name: str) -> Case:
    model = tiny_encoders.CASES[name]()
    spec, found = _saved(model)
    ids = [2 + id for id in _ids(spec.vocab - 2, _LENGTH)]  # transformers gives padding, 0 or 1, another position
    return Case(
        name=name,
        expected=tiny_encoders.hidden(model.double(), ids),
        by_numpy=lambda: forward(NumpyOps(), spec, _float64(found), ids, np.arange(len(ids))),
        compiled=lambda kind: _step(program(spec, found, kind, _kv(kind)), ids, hidden=True).hidden,
    )


def reader(name: str) -> Case:
    model = random_t5(**READERS[name])
    spec, found = _saved(model)
    source, ids = _ids(spec.vocab, 150), _ids(spec.vocab, _LENGTH)

    def by_numpy() -> np.ndarray:
        ops, w = NumpyOps(), _float64(found)
        memory = memories(ops, spec, w, encode(ops, spec, w, source, np.arange(len(source))))
        return forward(ops, spec, w, ids, np.arange(len(ids)), memory)

    with torch.no_grad():
        out = model.double()(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([ids]))
    return Case(
        name=name,
        expected=out.logits[0].numpy(),
        by_numpy=by_numpy,
        compiled=lambda kind: _step(program(spec, found, kind, _kv(kind)), ids, source).logits,
    )


def families() -> Iterator[list[str]]:
    """A row for each case; the number formats only for the first of each family."""
    seen: set[str] = set()
    kinds = ((decoder, tiny_checkpoints.CASES), (encoder, tiny_encoders.CASES), (reader, READERS))
    for open_case, names in kinds:
        for name in names:
            case = open_case(name)
            family = name.split(",")[0]
            formats = FORMATS if family not in seen else ("float32",)
            seen.add(family)
            errors = {format: error(case.compiled(format), case.expected) for format in formats}
            print(f"{name}: {errors}", flush=True)
            numpy = error(case.by_numpy(), case.expected)
            yield [name, number(numpy), *(number(errors[f]) if f in errors else "" for f in FORMATS)]


def _saved(model: Any) -> tuple[Any, Parameters]:
    folder = Path(tempfile.mkdtemp())
    model.float().save_pretrained(folder)
    spec = spec_from_config(json.loads((folder / "config.json").read_text()))
    family = FAMILIES[spec.family]
    names = {"prefixes": family.PREFIXES, "unused": family.UNUSED, "tied": spec.tied}
    return spec, Parameters(open_checkpoint(folder), sources(spec), shapes(spec), **names)


def _float64(found: Parameters) -> dict[str, np.ndarray]:
    return {name: found[name].float32().astype(np.float64) for name in found}


def _ids(vocab: int, n: int) -> list[int]:
    return np.random.default_rng(1).integers(0, vocab, n).tolist()


def _kv(format: str) -> str:
    return format if format in ("float32", "float16") else "bf16"


def _step(made: Program, ids: list[int], source: Sequence[int] = (), hidden: bool = False) -> Any:
    """All tokens in one step: their scores, or the rows that the head would read."""
    executor = NativeExecutor(made, threads=2, n_pages=8, max_tokens=256, max_outputs=64)
    pages, n = [2, 3, 4, 5, 6], len(source)
    if source:
        executor.encode(Batch(token_ids=[*source], positions=[*range(n)], sequence=[0] * n, block_table=[pages]))
    batch = Batch(token_ids=ids, positions=[*range(len(ids))], sequence=[0] * len(ids), block_table=[[1, 0]])
    batch.sources = [(pages, n)] if source else []
    batch.outputs, batch.want_logits, batch.want_hidden = [Output(row=i) for i in range(len(ids))], not hidden, hidden
    result = executor.step(batch)
    executor.close()
    return result


def error(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def number(error: float) -> str:
    return "0" if error == 0 else f"{error:.0e}"
