"""What llama.cpp makes of a GGUF file: run by an interpreter that has llama_cpp, with a JSON request, answers JSON.

The request: {"path": file, "text": text to split or null, "ids": tokens to score, "n": tokens to draw greedily}.
The answer: {"ids": of the text, "greedy": tokens drawn after `ids`, "logits": of every token of `ids`}.
Or {"path": file, "to": another, "kind": a mixture of types such as "Q4_K_M"}: the file quantised, and {} as the answer.
"""

import json
import sys


def main() -> None:
    import llama_cpp

    request = json.load(sys.stdin)
    answer = _quantised(llama_cpp, request) if "to" in request else _run(llama_cpp, request)
    json.dump(answer, sys.stdout)


def _quantised(llama_cpp, request: dict) -> dict:
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype, settings.nthread = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{request['kind']}"), 2
    if llama_cpp.llama_model_quantize(request["path"].encode(), request["to"].encode(), settings):
        raise RuntimeError(f"llama.cpp cannot quantise {request['path']}")
    return {}


def _run(llama_cpp, request: dict) -> dict:
    model = llama_cpp.Llama(
        request["path"], n_ctx=256, n_threads=2, n_threads_batch=2, logits_all=True, type_k=0, type_v=0, verbose=False
    )
    text, ids = request.get("text"), request["ids"]
    split = None if text is None else model.tokenize(text.encode(), add_bos=True, special=True)
    model.eval(ids)
    logits = model.scores[: len(ids)].tolist()
    model.reset()
    drawn = model.generate(ids, temp=0.0, top_k=1, repeat_penalty=1.0)
    greedy = [next(drawn) for _ in range(request.get("n", 0))]
    return {"ids": split, "greedy": greedy, "logits": logits}


if __name__ == "__main__":
    main()
