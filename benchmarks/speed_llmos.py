"""LLMOS through its public interface, as `protocol` asks: greedy, one sequence."""

from collections.abc import Sequence

from protocol import arguments, measure

import llmos.api


class Ours:
    def __init__(self, path: str, weights: str, threads: int):
        self.path, self.weights, self.threads = path, weights, threads

    def load(self) -> None:
        self.model = llmos.api.load_model(self.path, weights=self.weights, context=1024, threads=self.threads)

    def generate(self, ids: Sequence[int], n: int) -> tuple[float, float]:
        generation = self.model.generate(list(ids), max_tokens=n, temperature=0, ignore_eos=True)
        assert len(generation.tokens) == n, f"{len(generation.tokens)} tokens came, {n} were asked for"
        return generation.timings["first_token_s"], generation.timings["total_s"]


if __name__ == "__main__":
    options = arguments(__doc__ or "")
    ours = Ours(options.model, options.weights, options.threads)
    measure(options, ours.load, ours.generate)
