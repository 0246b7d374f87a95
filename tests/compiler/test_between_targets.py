"""One model on all targets of this processor: where the bytes are equal, and how far apart the scores are where they cannot be."""

import numpy as np
import pytest

from llmos.compiler import TARGETS, Target
from llmos.hardware import architecture, features
from llmos.runtime import Batch, NativeExecutor, Output
from tests.tiny_programs import CONFIGS, random_program

pytestmark = pytest.mark.toolchain
IDS = np.random.default_rng(5).integers(0, CONFIGS["fused"]["vocab_size"], 96).tolist()
# Of the largest score, three times what was measured. Without a fused multiply-add: products are rounded before they are added.
# Rounded: activations are put into codes of eight bits, and a last place may turn one. Pairs: `vdpbf16ps` rounds as no other way
# of multiplying bf16 does, in products and in attention to bf16 keys.
UNFUSED, UNFUSED_BF16, UNFUSED_ROUNDED, PAIRS, PAIRS_ROUNDED = 2e-6, 5e-5, 1.5e-2, 1.5e-2, 6e-2
ROUNDED = ("int8", "int4", "uint4")
FORMATS = [("bf16", "bf16"), ("float32", "float32"), ("float16", "float16"), ("int8", "int8"), ("uint4", "int8")]
FORMATS += [("int4", "bf16"), ("int8", "bf16"), ("bf16", "float32"), ("float32", "bf16")]


def scores(target: Target, model: str, weights: str, kv: str) -> np.ndarray:
    """Of every position, the prompt in one piece."""
    executor = NativeExecutor(
        random_program(weights, kv, target, model), threads=2, n_pages=4, max_tokens=128, max_outputs=128
    )
    batch = Batch(
        token_ids=IDS,
        positions=[*range(len(IDS))],
        sequence=[0] * len(IDS),
        block_table=[[2, 0, 3]],
        outputs=[Output(row=i) for i in range(len(IDS))],
        want_logits=True,
    )
    out = executor.step(batch).logits
    executor.close()
    return out


def fuses(target: Target) -> bool:
    return "fma" in target.needs or target.architecture == "aarch64"


def bound(a: Target, b: Target, weights: str, kv: str) -> float:
    """How far apart two targets may be; 0: not at all."""
    rounded = weights in ROUNDED
    if "bf16" in (weights, kv) and ("avx512_bf16" in a.needs) != ("avx512_bf16" in b.needs):
        return PAIRS_ROUNDED if rounded else PAIRS
    if fuses(a) != fuses(b):
        return UNFUSED_ROUNDED if rounded else UNFUSED_BF16 if "bf16" in (weights, kv) else UNFUSED
    return 0


@pytest.mark.parametrize(
    ("weights", "kv"),
    [pytest.param(*pair, marks=() if pair == ("bf16", "bf16") else pytest.mark.slow) for pair in FORMATS],
)
def test_targets_give_the_same_bytes_or_scores_that_are_near(weights, kv):
    targets = [t for t in TARGETS.values() if t.architecture == architecture() and t.runs_with(features())]
    found = {target: scores(target, "fused", weights, kv) for target in targets}
    for i, a in enumerate(targets):
        for b in targets[:i]:
            off = np.abs(found[a] - found[b]).max() / np.abs(found[b]).max()
            assert off <= bound(a, b, weights, kv), f"{a.name} and {b.name}"
