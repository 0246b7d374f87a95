"""onnxruntime-genai on the processor, as `protocol` asks. Weights are in blocks of 32, activations int8 (level 4)."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime_genai as api
from protocol import Room, main


class Peer:
    def version(self) -> dict[str, str]:
        return {"version": f"onnxruntime-genai {api.__version__}", "runs on": f"onnxruntime {version('onnxruntime')}"}

    def convert(self, shape: str, folder: Path, out: Path, format: str) -> None:
        with tempfile.TemporaryDirectory() as cache:
            builder = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", str(folder), "-o", str(out)]
            options = ["accuracy_level=4", "block_size=32"]
            subprocess.run([*builder, "-p", format, "-e", "cpu", "-c", cache, "--extra_options", *options], check=True)

    def load(self, path: str, format: str, threads: int, room: Room) -> None:
        config = api.Config(path)
        config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
        self.model = api.Model(config)

    def generate(self, prompts: Sequence[Sequence[int]], n: int) -> tuple[float, float]:
        length = len(prompts[0]) + n
        wanted = api.GeneratorParams(self.model)
        wanted.set_search_options(max_length=length, min_length=length, do_sample=False, batch_size=len(prompts))
        generator = api.Generator(self.model, wanted)
        began = time.perf_counter()
        generator.append_tokens(np.array(prompts, np.int32))
        generator.generate_next_token()
        first = time.perf_counter()
        for _ in range(n - 1):
            generator.generate_next_token()
        return first - began, time.perf_counter() - first


if __name__ == "__main__":
    main(Peer())
