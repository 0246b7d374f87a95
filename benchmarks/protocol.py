"""What LLMOS and its peers are asked to do, the same for each: token ids in, times out. Standard library only.

prefill: a prompt of 512 ids, to the first token. decode: from a prompt of 32 ids, the tokens after the first. Prompts differ
between repeats, so that no prefix cache answers.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence

__all__ = ["arguments", "measure"]

PREFILL_TOKENS = 512
PROMPT_TOKENS = 32


def prompt(n: int, seed: int) -> list[int]:
    """n ids that depend on the seed and fit any vocabulary of 20003 or more."""
    return [3 + (i * 7919 + seed * 104729) % 20000 for i in range(n)]


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model")
    parser.add_argument("--weights", default="bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def measure(
    options: argparse.Namespace,
    load: Callable[[], object],
    generate: Callable[[Sequence[int], int], tuple[float, float]],
) -> None:
    """Print one JSON line. generate(ids, n): seconds to the first of n tokens and to the last."""
    began = time.perf_counter()
    load()
    load_s = time.perf_counter() - began
    generate(prompt(PROMPT_TOKENS, 99), 4)
    prefill, decode = [], []
    for repeat in range(options.repeats):
        prefill.append(PREFILL_TOKENS / generate(prompt(PREFILL_TOKENS, 2 * repeat), 1)[0])
        first_s, last_s = generate(prompt(PROMPT_TOKENS, 2 * repeat + 1), options.tokens)
        decode.append((options.tokens - 1) / (last_s - first_s))
    report = {
        "weights": options.weights,
        "threads": options.threads,
        "load_s": load_s,
        "prefill_tokens_per_s": prefill,
        "decode_tokens_per_s": decode,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(report), flush=True)
