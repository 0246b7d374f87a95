"""The kernels are really run, and what they say is possible."""

import pytest

from llmos.api.kernels import measure_kernels
from llmos.compiler import chosen_target

pytestmark = pytest.mark.toolchain


@pytest.mark.parametrize(
    ("weights", "kv", "threads", "batch"),
    [("bf16", "bf16", 1, 1), ("int4", "int8", 2, 70), pytest.param("float16", "float16", 2, 3, marks=pytest.mark.slow)],
)
def test_kernels_of_a_format_are_measured(weights: str, kv: str, threads: int, batch: int):
    found = measure_kernels(chosen_target(), weights=weights, kv=kv, threads=threads, batch=batch)
    for seconds in (*found.cached.values(), *found.memory.values()):
        assert 1e-13 < seconds < 1e-4
    assert found.cached[1024, 256] > 4 * min(found.cached[1024, 1], found.cached[1024, 2])
    assert all(1e-9 < seconds < 1e-3 for seconds in found.page_s.values())
    assert all(1e-12 < seconds < 1e-5 for seconds in found.row_s.values())
    assert all(1e-9 < seconds < 1e-3 for seconds in found.append.values())
    assert all(0 <= seconds < 1e-3 for seconds in found.query_s.values())
    assert 0 <= found.join_s < 0.1
    assert 1e-6 < found.decode_s < 1
    assert 1e-6 < found.prompt_s < 1
