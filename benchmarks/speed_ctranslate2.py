"""CTranslate2, as `protocol` asks. It gives no times of steps: two runs of different lengths are subtracted."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import ctranslate2 as api
from protocol import Room, main

_COMPUTE = {"bf16": "bfloat16", "int8": "int8"}


class Peer:
    def version(self) -> dict[str, str]:
        return {"version": f"ctranslate2 {api.__version__}"}

    def convert(self, shape: str, folder: Path, out: Path, format: str) -> None:
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(str(folder), low_cpu_mem_usage=True).convert(str(out), quantization=_COMPUTE[format])

    def load(self, path: str, format: str, threads: int, room: Room) -> None:
        settings = {"compute_type": _COMPUTE[format], "intra_threads": threads, "inter_threads": 1}
        self.generator = api.Generator(path, device="cpu", **settings)
        self.words = json.loads((Path(path) / "vocabulary.json").read_text())

    def generate(self, prompts: Sequence[Sequence[int]], n: int) -> tuple[float, float]:
        first_s = self.run(prompts, 1)
        return first_s, self.run(prompts, n) - first_s if n > 1 else 0.0

    def run(self, prompts: Sequence[Sequence[int]], n: int) -> float:
        """Seconds to draw n tokens after every prompt."""
        texts = [[self.words[id] for id in ids] for ids in prompts]
        length = {"max_length": n, "min_length": n, "include_prompt_in_result": False}
        began = time.perf_counter()
        self.generator.generate_batch(texts, sampling_topk=1, beam_size=1, **length)
        return time.perf_counter() - began


if __name__ == "__main__":
    main(Peer())
