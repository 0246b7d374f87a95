"""Models compiled for another architecture, run under emulation: their bytes are those of x86-64-v3."""

from pathlib import Path

import numpy as np
import pytest

from llmos.compiler import TARGETS, Options, build_graph, emit
from llmos.models import spec_from_config
from llmos.runtime import Batch, NativeExecutor, Output, SamplingParameters
from tests.native_programs import compile_program, launcher, run_program
from tests.tiny_programs import CONFIG, CONFIGS, random_program

pytestmark = pytest.mark.toolchain
DRIVER = Path(__file__).parents[1] / "native" / "step_driver.cc"
PROMPT = np.random.default_rng(2).integers(0, CONFIG["vocab_size"], 75).astype(np.int32)
DRAWN = 20
FORMATS = [
    ("float32", "float32"),
    ("float16", "float16"),
    ("bf16", "bf16"),
    ("int8", "int8"),
    ("int4", "bf16"),
    ("uint4", "int8"),
]
TURNED = {("llama", "uint4"), ("fused", "int8"), ("fused", "int4"), ("fused", "uint4")}


def matrix() -> list:
    """Models of odd sizes and of whole groups, formats, and targets of the other architecture; one of each model is fast."""
    fast = (("llama", "aarch64-dotprod", "int8"), ("fused", "aarch64-dotprod", "int4"))
    return [
        pytest.param(model, target, weights, kv, marks=() if (model, target, weights) in fast else pytest.mark.slow)
        for model in ("llama", "fused")
        for target in ("aarch64-dotprod", "aarch64-portable")
        for weights, kv in FORMATS
    ]


def emulated(folder: Path, model: str, target: str, weights: str, kv: str) -> tuple[np.ndarray, list[int]]:
    """Logits of the prompt and the greedy tokens after it."""
    launcher(TARGETS[target])
    program = random_program(weights, kv, "portable", model)
    graph = build_graph(spec_from_config(CONFIGS[model]), Options(weights=weights, kv=kv))
    (folder / "model.cc").write_text(emit(graph))
    compile_program([folder / "model.cc", DRIVER], folder / "driver", TARGETS[target], "-O3")
    packed = bytearray(program.weights_bytes)
    program.fill_weights(memoryview(packed))
    header = [program.context, program.vocab, len(PROMPT), DRAWN, 2, program.rope.size]
    parts = (np.array(header, np.int32), packed, program.rope, PROMPT)
    (folder / "input").write_bytes(b"".join(bytes(part) for part in parts))
    run_program(folder / "driver", TARGETS[target], str(folder / "input"), str(folder / "output"))
    data = (folder / "output").read_bytes()
    n = len(PROMPT) * program.vocab
    logits = np.frombuffer(data, np.float32, n).reshape(len(PROMPT), program.vocab)
    return logits, np.frombuffer(data, np.int32, DRAWN, 4 * n).tolist()


def native(model: str, target: str, weights: str, kv: str) -> tuple[np.ndarray, list[int]]:
    """The same of this machine's code."""
    program = random_program(weights, kv, target, model)
    n_pages = -(-program.context // 32)
    executor = NativeExecutor(program, threads=2, n_pages=n_pages, max_tokens=128, max_outputs=128)
    pages = [list(range(n_pages))]

    def step(ids: list[int], position: int):
        n = len(ids)
        outputs = [Output(row=i, sampling=SamplingParameters()) for i in range(n)]
        return executor.step(
            Batch(
                token_ids=ids,
                positions=list(range(position, position + n)),
                sequence=[0] * n,
                block_table=pages,
                outputs=outputs,
                want_logits=True,
            )
        )

    first = step(PROMPT.tolist(), 0)
    drawn = [first.sampled[-1]]
    while len(drawn) < DRAWN:
        drawn.append(step(drawn[-1:], len(PROMPT) + len(drawn) - 1).sampled[0])
    executor.close()
    return first.logits, drawn


@pytest.mark.parametrize(("model", "target", "weights", "kv"), matrix())
def test_code_for_another_architecture_gives_the_bytes_of_this_one(model, target, weights, kv, tmp_path):
    launcher(TARGETS["x86-64-v3"])
    logits, drawn = emulated(tmp_path, model, target, weights, kv)
    expected, expected_drawn = native(model, "x86-64-v3", weights, kv)
    assert drawn == expected_drawn
    assert (logits == expected).all()  # both have fused multiply-adds, and every sum has one order
    plain, plain_drawn = native(model, "portable", weights, kv)
    off = np.abs(logits - plain) / np.abs(plain).max()
    if (model, weights) in TURNED:  # a last place turns an eight-bit code, which later layers see
        assert off.max() <= 1.5e-2 and np.median(off) <= 2e-3
    else:
        assert off.max() <= 2e-6
        assert drawn == plain_drawn
