"""LLMOS, as `protocol` asks: a compiled bundle, the engine that all interfaces share, greedy."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy  # noqa: F401  (what any program has; the memory of LLMOS is counted above it)
import tokenizers  # noqa: F401
from protocol import Room, main

import llmos
from llmos.api import compile_model, load_model
from llmos.runtime import Request


class Ours:
    def version(self) -> dict[str, str]:
        return {"version": llmos.__version__}

    def convert(self, shape: str, folder: Path, out: Path, format: str) -> None:
        compile_model(str(folder), out, weights=format, verified=False)  # rounding moves random weights far

    def load(self, path: str, format: str, threads: int, room: Room) -> None:
        self.model = load_model(path, context=room.context, batch=room.sequences, threads=threads)
        self.model._engine.drafter = None  # random weights say the same over and over, which is foretold too well

    def weights(self) -> tuple[int, int]:
        """(address, bytes) of the arena of weights."""
        described = self.model._executor._model
        return described.weights, described.weights_bytes

    def generate(self, prompts: Sequence[Sequence[int]], n: int) -> tuple[float, float]:
        engine = self.model._engine
        began = time.perf_counter()
        sequences = [engine.submit(Request(ids=tuple(ids), max_tokens=n)) for ids in prompts]
        while not all(s.generated for s in sequences):
            engine.step()
        first = time.perf_counter()
        while engine.step():
            pass
        assert all(len(s.generated) == n for s in sequences), [len(s.generated) for s in sequences]
        return first - began, time.perf_counter() - first


if __name__ == "__main__":
    main(Ours())
