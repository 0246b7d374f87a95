"""Scores of llama.cpp for windows of ids: `python logits_llama_cpp.py MODEL.gguf IDS.npy OUT.npy`, in an interpreter that has it."""

import sys

import llama_cpp
import numpy as np


def main(path: str, ids: str, out: str) -> None:
    windows = np.load(ids)
    length = windows.shape[1]
    model = llama_cpp.Llama(path, n_ctx=length, n_batch=length, n_threads=2, logits_all=True, verbose=False)
    scores = []
    for window in windows:
        model.reset()
        model.eval(window.tolist())
        scores.append(model.scores[:length].copy())
    np.save(out, np.stack(scores))


if __name__ == "__main__":
    main(*sys.argv[1:])
