"""llama.cpp through the low-level interface of llama-cpp-python, as `protocol` asks. Memory maps are off: with them its
weights lie in small pages, which costs it up to a third of its speed."""

import ctypes
import time
from collections.abc import Sequence

import llama_cpp as api
import numpy as np
from protocol import arguments, measure

_CONTEXT_TOKENS = 1024


class Peer:
    def __init__(self, path: str, threads: int):
        self.path, self.threads = path, threads
        self.quiet = api.llama_log_callback(lambda *args: None)
        api.llama_log_set(self.quiet, ctypes.c_void_p(0))

    def load(self) -> None:
        api.llama_backend_init()
        how = api.llama_model_default_params()
        how.use_mmap = False
        self.model = api.llama_model_load_from_file(self.path.encode(), how)
        assert self.model, f"llama.cpp cannot load {self.path}"
        self.vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        room = api.llama_context_default_params()
        room.n_threads = room.n_threads_batch = self.threads
        room.n_ctx, room.n_batch, room.n_ubatch = _CONTEXT_TOKENS, _CONTEXT_TOKENS, 512
        self.context = api.llama_init_from_model(self.model, room)
        self.batch = api.llama_batch_init(_CONTEXT_TOKENS, 0, 1)

    def generate(self, ids: Sequence[int], n: int) -> tuple[float, float]:
        began = time.perf_counter()
        api.llama_memory_clear(api.llama_get_memory(self.context), True)
        token = self.step(ids, 0)
        first_s = time.perf_counter() - began
        for i in range(n - 1):
            token = self.step([token], len(ids) + i)
        return first_s, time.perf_counter() - began

    def step(self, ids: Sequence[int], position: int) -> int:
        """Greedy next token after putting ids at a position."""
        batch = self.batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position + i, 1
            batch.seq_id[i][0], batch.logits[i] = 0, i == len(ids) - 1
        status = api.llama_decode(self.context, batch)
        assert status == 0, f"llama_decode answered {status}"
        scores = api.llama_get_logits_ith(self.context, len(ids) - 1)
        return int(np.ctypeslib.as_array(scores, (self.vocab,)).argmax())


if __name__ == "__main__":
    options = arguments(__doc__ or "")
    peer = Peer(options.model, options.threads)
    measure(options, peer.load, peer.generate)
