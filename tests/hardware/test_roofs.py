"""The probes really run, and what they say is possible."""

import ctypes
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmos.compiler.targets import TARGETS
from llmos.compiler.toolchain import build_shared
from llmos.hardware import PROBE_SOURCE, architecture, features, measure_bandwidth, measure_peak

pytestmark = pytest.mark.toolchain


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.architecture == architecture()])
def test_probe_measures_roofs_on_every_target(name: str, tmp_path: Path):
    if not TARGETS[name].runs_with(features()):
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


def test_bandwidth_is_measured_on_huge_pages():
    huge_kib = []

    def read(start: int, n_bytes: int) -> int:
        entries = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.M)[1:]
        ranges = [re.match(r"(\w+)-(\w+)", entry) for entry in entries]
        holds = [int(r[1], 16) <= start + n_bytes // 2 < int(r[2], 16) for r in ranges]
        huge_kib.append(int(re.search(r"^AnonHugePages:\s+(\d+) kB", entries[holds.index(True)], re.M)[1]))
        return 0

    measure_bandwidth(SimpleNamespace(llmos_probe_read=read), 1, repeats=1)
    granted = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    assert huge_kib[0] > 0 or not granted.exists() or "[never]" in granted.read_text()
