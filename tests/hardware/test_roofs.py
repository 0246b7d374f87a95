"""The probes really run, and what they say is possible."""

import ctypes
from pathlib import Path

import pytest

from llmos.compiler.targets import TARGETS
from llmos.compiler.toolchain import build_shared
from llmos.hardware import PROBE_SOURCE, features, measure_bandwidth, measure_peak

pytestmark = pytest.mark.toolchain


@pytest.mark.parametrize("name", TARGETS)
def test_probe_measures_roofs_on_every_target(name: str, tmp_path: Path):
    if not TARGETS[name].needs <= features():
        pytest.skip(f"this machine cannot run target {name}")
    out = tmp_path / "probe.so"
    build_shared(PROBE_SOURCE, out, TARGETS[name])
    probe = ctypes.CDLL(str(out))
    assert 1e8 < measure_bandwidth(probe, 2, repeats=1) < 1e13
    for format in ("float32", "bf16", "int8"):
        assert 1e8 < measure_peak(probe, format, 1, repeats=1) < 1e15


def test_probe_reads_every_byte(tmp_path: Path):
    out = tmp_path / "probe.so"
    build_shared(PROBE_SOURCE, out, TARGETS["portable"])
    read = ctypes.CDLL(str(out)).llmos_probe_read
    read.argtypes, read.restype = (ctypes.c_void_p, ctypes.c_size_t), ctypes.c_uint64
    raw = ctypes.create_string_buffer(1024 + 64)
    start = -ctypes.addressof(raw) % 64
    before = read(ctypes.addressof(raw) + start, 1024)
    for at in range(0, 1024, 8):
        raw[start + at] = 1
        assert read(ctypes.addressof(raw) + start, 1024) != before
        raw[start + at] = 0
