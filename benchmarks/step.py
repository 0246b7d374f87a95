"""`python benchmarks/step.py`: what a step costs besides its native call, and what a second thread gains.

Of the embedded model in a warm process: the time of an engine step outside of the native call, with one and two threads and after 32
and 260 tokens, and the time to a first token. Of the shape of Qwen2.5-0.5B (random weights, --folder keeps it) in each format:
prompts and single tokens with two threads over one, in turn in one process. One JSON document on stdout.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from protocol import prompt
from shapes import A, write_folder

from llmos.api import load_model
from llmos.api.model import Model
from llmos.runtime import Engine, Request, SamplingParameters

__all__ = ["outside_of_native", "threads_gain"]

FORMATS = ("int4", "int8", "bf16")
_PROMPT, _TOKENS = 256, 17  # of a round of `threads_gain`


def outside_of_native(repeats: int = 5) -> list[dict[str, Any]]:
    """Microseconds of steps of llmos-mini, of their native calls, and between; milliseconds to the first token of a text."""
    return [_outside(threads, context, repeats) for threads, context in ((1, 32), (2, 32), (1, 260))]


class _Timed:
    """A library whose steps note how long they take."""

    def __init__(self, library: Any):
        self._library, self.seconds = library, list[float]()

    def llmos_step(self, *arguments: Any) -> int:
        began = time.perf_counter()
        status = self._library.llmos_step(*arguments)
        self.seconds.append(time.perf_counter() - began)
        return status

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)


def _outside(threads: int, context: int, repeats: int) -> dict[str, Any]:
    with load_model("llmos-mini", threads=threads) as model:
        firsts = [_first_token(model, context, i) for i in range(repeats + 1)][1:]
        executor, engine = model._executor, model._engine
        timed = executor._library = _Timed(executor._library)
        sampling = SamplingParameters(temperature=0.7, top_k=40)
        for seed in (97, 98):  # the first one warms the processor and Python
            ids = tuple(id % model.info()["vocab"] for id in prompt(context, seed))
            engine.submit(Request(ids=ids, max_tokens=200, sampling=sampling))
            engine.step()
            timed.seconds.clear()
            walls = _walls(engine)
    pairs = list(zip(walls, timed.seconds, strict=False))
    return {
        "threads": threads,
        "context": context,
        "step_us": 1e6 * median(wall for wall, _ in pairs),
        "native_us": 1e6 * median(native for _, native in pairs),
        "outside_us": 1e6 * median(wall - native for wall, native in pairs),
        "first_token_ms": 1e3 * median(firsts),
    }


def _walls(engine: Engine) -> list[float]:
    """Seconds of steps until there is nothing to do."""
    walls = []
    while True:
        began = time.perf_counter()
        if not engine.step():
            return walls
        walls.append(time.perf_counter() - began)


def _first_token(model: Model, context: int, seed: int) -> float:
    vocab = model.info()["vocab"]
    ids = [id % vocab for id in prompt(context, seed)]
    began = time.perf_counter()
    model.generate_tokens(ids, max_tokens=1, temperature=0)
    return time.perf_counter() - began


def threads_gain(folder: Path, formats: Sequence[str] = FORMATS, rounds: int = 7) -> list[dict[str, Any]]:
    """Speed with two threads over that with one, median of the rounds."""
    if not (folder / "A" / "config.json").exists():
        write_folder(folder / "A", A)
    return [_gain(folder / "A", weights, rounds) for weights in formats]


def _gain(folder: Path, weights: str, rounds: int) -> dict[str, Any]:
    models = [load_model(str(folder), weights=weights, context=512, batch=1, threads=n) for n in (1, 2)]
    try:
        for model in models:
            _round(model, 0)
        pairs = [[_round(model, i) for model in models] for i in range(1, rounds + 1)]
    finally:
        for model in models:
            model.close()
    out: dict[str, Any] = {"weights": weights, "rounds": rounds}
    for i, what in enumerate(("prefill", "decode")):
        ratios = [one[i] / two[i] for one, two in pairs]
        out[what] = {"median": median(ratios), "min": min(ratios), "max": max(ratios)}
    return out


def _round(model: Model, seed: int) -> tuple[float, float]:
    """Seconds of a prompt, and of the tokens after the first."""
    engine = model._engine
    engine.drafter = None
    sequence = engine.submit(Request(ids=tuple(prompt(_PROMPT, seed)), max_tokens=_TOKENS))
    began = time.perf_counter()
    while not sequence.generated:
        engine.step()
    first = time.perf_counter()
    while engine.step():
        pass
    return first - began, time.perf_counter() - first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep the model here [a temporary folder]")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        report = {
            "llmos-mini": outside_of_native(),
            "two threads": threads_gain(folder, options.formats, options.rounds),
        }
        print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
