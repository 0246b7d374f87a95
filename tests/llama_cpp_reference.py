"""What llama.cpp makes of a GGUF file: run by an interpreter that has llama_cpp, with a JSON request, answers JSON.

The request: {"path": file, "text": text to split or null, "ids": tokens to score, "n": tokens to draw greedily}.
The answer: {"ids": of the text, "greedy": tokens drawn after `ids`, "logits": of every token of `ids`}.
"""

import json
import sys


def main() -> None:
    import llama_cpp

    request = json.load(sys.stdin)
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
    json.dump({"ids": split, "greedy": greedy, "logits": logits}, sys.stdout)


if __name__ == "__main__":
    main()
