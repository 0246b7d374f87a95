"""LLMOS through its public interface, as `protocol` asks: greedy, one sequence."""

import time
from collections.abc import Sequence

from protocol import arguments, measure

import llmos.api


class Ours:
    def __init__(self, path: str, weights: str, threads: int):
        self.path, self.weights, self.threads = path, weights, threads

    def load(self) -> None:
        self.model = llmos.api.load_model(self.path, weights=self.weights, context=1024, threads=self.threads)

    def generate(self, ids: Sequence[int], n: int) -> list[float]:
        began = time.perf_counter()
        times = []
        for _ in self.model.stream_tokens(list(ids), max_tokens=n, temperature=0):
            times.append(time.perf_counter() - began)
        return times


if __name__ == "__main__":
    options = arguments(__doc__ or "")
    ours = Ours(options.model, options.weights, options.threads)
    measure(options, ours.load, ours.generate)
