"""OpenVINO GenAI with continuous batching, as `protocol` asks. Prefixes are not shared; its precision of activations and of keys
and values is its own choice.
"""

import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import openvino
import openvino_genai as api
from protocol import Room, main

_KV_GIB = 1
_QUANTISED = {
    "int4": {"bits": 4, "sym": True, "group_size": 128, "ratio": 1.0},
    "int4 g32": {"bits": 4, "sym": True, "group_size": 32, "ratio": 1.0},
    "int8": {"bits": 8},
}


class Peer:
    def version(self) -> dict[str, str]:
        made_by = ", ".join(f"{name} {version(name)}" for name in ("optimum-intel", "nncf"))
        return {"version": f"openvino-genai {api.__version__}", "models made by": made_by}

    def convert(self, shape: str, folder: Path, out: Path, format: str) -> None:
        from openvino_tokenizers import convert_tokenizer
        from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig
        from transformers import AutoTokenizer

        wanted = OVWeightQuantizationConfig(**_QUANTISED[format]) if format in _QUANTISED else None
        how = {"export": True, "compile": False, "load_in_8bit": False, "quantization_config": wanted}
        OVModelForCausalLM.from_pretrained(folder, **how).save_pretrained(out)
        pair = convert_tokenizer(AutoTokenizer.from_pretrained(folder), with_detokenizer=True)
        for name, model in zip(("tokenizer", "detokenizer"), pair, strict=True):
            openvino.save_model(model, out / f"openvino_{name}.xml")

    def load(self, path: str, format: str, threads: int, room: Room) -> None:
        schedule = api.SchedulerConfig()
        schedule.cache_size, schedule.enable_prefix_caching = _KV_GIB, False
        schedule.max_num_batched_tokens = max(room.context, room.sequences * 256)
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        self.pipeline = api.ContinuousBatchingPipeline(path, schedule, "CPU", settings)

    def generate(self, prompts: Sequence[Sequence[int]], n: int) -> tuple[float, float]:
        wanted = api.GenerationConfig()
        wanted.max_new_tokens = wanted.min_new_tokens = n
        wanted.ignore_eos, wanted.do_sample, wanted.apply_chat_template = True, False, False
        ids = [openvino.Tensor(np.array([prompt], np.int64)) for prompt in prompts]
        began = time.perf_counter()
        results = self.pipeline.generate(ids, [wanted] * len(ids))
        total_s = time.perf_counter() - began
        first_s = max(result.perf_metrics.raw_metrics.m_times_to_first_token[0] for result in results) / 1e6
        return first_s, total_s - first_s


if __name__ == "__main__":
    main(Peer())
