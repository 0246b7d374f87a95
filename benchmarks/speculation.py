"""Decoding with speculation beside decoding without, in turns on one loaded model: texts that copy, edit, go on, or mislead.

    python benchmarks/speculation.py MODEL [--cases copy edit] [--turns 5] [--tokens 128]

The ids that come are prescribed, so that random weights (`shapes.py`) do for a model: every step is computed as always, and what
was drawn is then replaced. What is measured is therefore the time of a text that a good model would have written. Prints one JSON
document; ends with 1 where a case misses its bar.
"""

import argparse
import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from turns import summary, take_turns

from llmos.api import load_model
from llmos.runtime import Batch, Engine, Executor, Request, Result
from llmos.runtime.drafting import drafter_of

ROOT = Path(__file__).resolve().parents[1]
FASTER, NOT_SLOWER = 1.5, 0.97  # tokens per second with speculation over those without
Ids = list[int]


class Prescribed:
    """An executor that draws the ids of a text, whatever its scores."""

    def __init__(self, executor: Executor, text: Ids):
        self._executor, self._text = executor, text

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def step(self, batch: Batch) -> Result:
        result = self._executor.step(batch)
        result.sampled[:] = [self._text[output.position] for output in batch.outputs]
        return result


def copying(encode: Callable[[str], Ids], n: int) -> tuple[Ids, Ids]:
    """A page of documentation, said again word by word."""
    page = encode((ROOT / "docs/runtime.md").read_text(encoding="utf-8"))[: n + n // 2]
    return page, page


def editing(encode: Callable[[str], Ids], n: int) -> tuple[Ids, Ids]:
    """A file of Python with a name changed throughout, and a line gone here and there."""
    lines = (ROOT / "src/llmos/runtime/pages.py").read_text(encoding="utf-8").splitlines(keepends=True)[20:]
    edited = [line.replace("page", "frame") for i, line in enumerate(lines) if i % 13]
    return encode("".join(lines))[: n + n // 2], encode("".join(edited))


def prose(encode: Callable[[str], Ids], n: int) -> tuple[Ids, Ids]:
    """A page of documentation that goes on."""
    page = encode((ROOT / "docs/architecture.md").read_text(encoding="utf-8"))
    return page[:n], page[n:]


def noise(encode: Callable[[str], Ids], n: int) -> tuple[Ids, Ids]:
    """Ids without any order."""
    draw = random.Random(0)
    return [draw.randrange(3, 4000) for _ in range(n)], [draw.randrange(3, 4000) for _ in range(2 * n)]


def misleading(encode: Callable[[str], Ids], n: int) -> tuple[Ids, Ids]:
    """Pieces of the prompt that break off after two to five ids, as soon as they are recognised."""
    draw = random.Random(0)
    prompt = [draw.randrange(3, 4000) for _ in range(n)]

    def pieces() -> Iterator[int]:
        while True:
            at = draw.randrange(n - 5)
            yield from prompt[at : at + draw.randint(2, 5)]
            yield draw.randrange(3, 4000)

    return prompt, list(itertools.islice(pieces(), 2 * n))


CASES = {
    "copy": (copying, FASTER),
    "edit": (editing, FASTER),
    "prose": (prose, NOT_SLOWER),
    "noise": (noise, NOT_SLOWER),
    "misleading": (misleading, NOT_SLOWER),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--sequences", type=int, default=1)
    options = parser.parse_args()
    encode = load_model("llmos-mini").tokenize
    with load_model(options.model, batch=options.sequences, context=4 * options.tokens) as model:
        rows = [case(model, name, encode, options) for name in options.cases]
    print(json.dumps({"model": options.model, "threads": model.info()["threads"], "cases": rows}, indent=2))
    sys.exit(0 if all(row["ratio"] >= row["bar"] for row in rows) else 1)


def case(model: Any, name: str, encode: Callable[[str], Ids], options: argparse.Namespace) -> dict[str, Any]:
    made, bar = CASES[name]
    prompt, answer = made(encode, options.tokens)
    text = (prompt + answer)[: len(prompt) + options.tokens]
    executor = Prescribed(model._executor, text)

    def side(setting: Any) -> Callable[[], dict[str, Any]]:
        return lambda: speak(executor, text, len(prompt), setting, options.sequences)

    reports = take_turns({"off": side("off"), "auto": side("auto")}, options.turns)
    sides = {key: summary([r["tokens_per_s"] for r in turns]) for key, turns in reports.items()}
    ratio = sides["auto"]["median"] / sides["off"]["median"]
    counts = {key: reports["auto"][-1][key] for key in ("drafted", "accepted")}
    return {"case": name, "tokens": len(text) - len(prompt), "ratio": ratio, "bar": bar} | counts | sides


def speak(executor: Executor, text: Ids, n_prompt: int, setting: Any, n: int) -> dict[str, Any]:
    """Tokens per second behind the first one, of an engine that begins to measure anew."""
    engine = Engine(executor, share_prefixes=False, drafter=drafter_of(setting))
    request = Request(ids=tuple(text[:n_prompt]), max_tokens=len(text) - n_prompt)
    sequences = [engine.submit(request) for _ in range(n)]
    while not all(sequence.generated for sequence in sequences):
        engine.step()
    said, began = sum(len(sequence.generated) for sequence in sequences), time.perf_counter()
    while engine.step():
        pass
    seconds = time.perf_counter() - began
    assert all(sequence.ids == text for sequence in sequences), "speculation changed what was said"
    rate = (n * request.max_tokens - said) / seconds
    return {"tokens_per_s": rate} | {"drafted": sequences[0].n_drafted, "accepted": sequences[0].n_accepted}


if __name__ == "__main__":
    main()
