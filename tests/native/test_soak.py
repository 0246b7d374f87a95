"""A whole model in random steps, admitted, forked and cancelled, gives the same bytes on one thread and on several, without races."""

import re

import numpy as np
import pytest

from llmos.compiler import Options, build_graph, emit, target_named
from llmos.hardware import features
from llmos.models import spec_from_config
from llmos.native import include_dir
from tests.native_programs import compile_program, run_program
from tests.tiny_programs import CONFIGS, random_program

pytestmark = pytest.mark.toolchain
SOAK = include_dir().parent / "tests" / "step_soak.cc"
FORMATS = {
    "llama": ("bf16", "bf16"),
    "windows": ("int8", "int8"),
    "experts": ("uint4", "float16"),
    "fused": ("int4", "bf16"),
}
RACES = ["-O1", "-fsanitize=thread"]
UNDEFINED = ["-O1", "-fsanitize=undefined", "-fsanitize-trap=undefined"]


def soak(folder, model: str, weights: str, kv: str, steps: int, seed: int, *flags: str, build=None) -> dict[str, int]:
    """Runs it; what happened how often. build: another compiler than the bundled one."""
    target, program = target_named(None, features()), random_program(weights, kv, model=model)
    code, packed, rope = folder / "model.cc", folder / "weights", folder / "rope"
    code.write_text(text := emit(build_graph(spec_from_config(CONFIGS[model]), Options(weights=weights, kv=kv))))
    filled = bytearray(program.weights_bytes)
    program.fill_weights(memoryview(filled))
    packed.write_bytes(filled)
    rope.write_bytes(np.ascontiguousarray(program.rope, np.float32).tobytes())
    if build is None:
        compile_program([SOAK], soaked := folder / "soak", target, f'-DCODE="{code}"', *flags)
    else:
        soaked = build(SOAK, f'-DCODE="{code}"', *flags)
    said = run_program(soaked, target, *map(str, (packed, rope, program.context, steps, seed)))
    assert said.endswith(": the same bytes\n"), said
    happened = {what: int(n) for n, what in re.findall(r"(\d+) ([a-z ]+)", said)}
    if model == "fused":
        assert "BeginBest<kVocab>" in text and "GatedLinear" in text
    else:
        happened.pop("drawn from the largest")  # a small vocabulary has no room for lists
    return happened


@pytest.mark.parametrize(
    ("model", "weights", "kv"), [("llama", "int8", "bf16"), ("windows", "int4", "int8"), ("fused", "uint4", "bf16")]
)
def test_random_steps_give_the_same_bytes_on_one_thread_and_on_three(tmp_path, model, weights, kv):
    found = soak(tmp_path, model, weights, kv, 3000, 1, "-O2")
    assert min(found.values()) > 100


@pytest.mark.slow
@pytest.mark.parametrize("flags", [RACES, UNDEFINED], ids=["races", "undefined"])
@pytest.mark.parametrize("model", CONFIGS)
def test_random_steps_are_clean_under_sanitizers(tmp_path, model, flags):
    formats = FORMATS[model]
    found = soak(tmp_path, model, *formats, 1000, 2, *flags)
    assert min(found.values()) > 20


@pytest.mark.slow
@pytest.mark.parametrize("model", CONFIGS)
def test_random_steps_are_clean_under_the_address_sanitizer(tmp_path, sanitized, model):
    found = soak(tmp_path, model, *FORMATS[model], 1000, 2, build=sanitized)
    assert min(found.values()) > 20
