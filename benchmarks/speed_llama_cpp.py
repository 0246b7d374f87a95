"""llama.cpp through the low-level interface of llama-cpp-python, as `protocol` asks. Memory maps are off: with them its
weights lie in small pages, which costs it up to a third of its speed.
"""

import ctypes
import time
from collections.abc import Sequence
from pathlib import Path

import llama_cpp as api
import numpy as np
from protocol import Room, main
from shapes import write_gguf

_MICRO_BATCH = 512


class Peer:
    def __init__(self) -> None:
        self.quiet = api.llama_log_callback(lambda *args: None)
        api.llama_log_set(self.quiet, ctypes.c_void_p(0))

    def version(self) -> dict[str, str]:
        told = api.llama_print_system_info().decode().replace("|", ",").split(",")
        features = [fact.split(":")[-1].removesuffix(" = 1 ").strip() for fact in told if fact.endswith(" = 1 ")]
        return {"version": f"llama-cpp-python {api.__version__}", "built for": " ".join(features)}

    def convert(self, shape: str, folder: Path, out: Path, format: str) -> None:
        plain = out.with_name(f"{shape}.bf16.gguf")
        if not plain.exists():
            write_gguf(plain, folder)
        settings = api.llama_model_quantize_default_params()
        settings.nthread = 2
        settings.pure = format.endswith(" pure")
        settings.ftype = getattr(
            api, f"LLAMA_FTYPE_MOSTLY_{format.removesuffix(' pure')}", 32
        )  # the binding lacks BF16
        status = api.llama_model_quantize(str(plain).encode(), str(out).encode(), settings)
        assert status == 0, f"llama.cpp cannot make {format} of {plain}"

    def load(self, path: str, format: str, threads: int, room: Room) -> None:
        api.llama_backend_init()
        how = api.llama_model_default_params()
        how.use_mmap = False
        self.model = api.llama_model_load_from_file(path.encode(), how)
        assert self.model, f"llama.cpp cannot load {path}"
        self.vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        wanted = api.llama_context_default_params()
        wanted.n_threads = wanted.n_threads_batch = threads
        wanted.n_seq_max, wanted.n_ctx = room.sequences, room.sequences * room.context
        wanted.n_batch, wanted.n_ubatch = room.sequences * room.context, _MICRO_BATCH
        self.context = api.llama_init_from_model(self.model, wanted)
        self.batch = api.llama_batch_init(wanted.n_batch, 0, 1)

    def generate(self, prompts: Sequence[Sequence[int]], n: int) -> tuple[float, float]:
        began = time.perf_counter()
        api.llama_memory_clear(api.llama_get_memory(self.context), True)
        tokens = self.step(prompts, 0)
        first = time.perf_counter()
        for i in range(n - 1):
            tokens = self.step([[token] for token in tokens], len(prompts[0]) + i)
        return first - began, time.perf_counter() - first

    def step(self, sequences: Sequence[Sequence[int]], position: int) -> list[int]:
        """Greedy next tokens after putting ids, as many for each sequence, at a position."""
        batch, rows = self.batch, []
        i = 0
        for sequence, ids in enumerate(sequences):
            for at, token in enumerate(ids):
                batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position + at, 1
                batch.seq_id[i][0], batch.logits[i] = sequence, at == len(ids) - 1
                i += 1
            rows.append(i - 1)
        batch.n_tokens = i
        status = api.llama_decode(self.context, batch)
        assert status == 0, f"llama_decode answered {status}"
        return [self.best(row) for row in rows]

    def best(self, row: int) -> int:
        scores = api.llama_get_logits_ith(self.context, row)
        return int(np.ctypeslib.as_array(scores, (self.vocab,)).argmax())


if __name__ == "__main__":
    main(Peer())
