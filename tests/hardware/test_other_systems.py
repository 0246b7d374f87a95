"""What macOS and Windows say of a machine; the parts that are not theirs alone run here."""

from pathlib import Path

import pytest

from llmos.compiler.code import open_library
from llmos.compiler.processor import cpuid_library
from llmos.hardware import (
    anonymous_memory,
    architecture,
    asked_features,
    caches,
    features,
    model_name,
    topology,
)
from llmos.hardware.cpu import CPUID_FEATURES
from llmos.hardware.foreign_memory import foreign_memory
from llmos.hardware.sysctl import _decoded

MAC = {
    "hw.optional.AdvSIMD": 1,
    "hw.optional.arm.FEAT_DotProd": 1,
    "hw.optional.arm.FEAT_I8MM": 0,
    "machdep.cpu.brand_string": "Apple M1",
    "hw.physicalcpu": 8,
    "hw.perflevel0.l1dcachesize": 131072,
    "hw.perflevel0.l2cachesize": 12582912,
    "hw.perflevel0.cpusperl2": 4,
    "hw.cachelinesize": 128,
}


def test_a_mac_is_described_by_sysctl(tmp_path: Path):
    assert features(tmp_path, MAC.get) == {"asimd", "asimddp"}
    assert model_name(tmp_path, MAC.get) == "Apple M1"
    assert topology(tmp_path, MAC.get).cores == 8
    found = [(cache.level, cache.size_bytes, cache.line_bytes, cache.shared_by) for cache in caches(tmp_path, MAC.get)]
    assert found == [(1, 131072, 128, 1), (2, 12582912, 128, 4)]


def test_an_intel_mac_has_the_features_that_targets_ask_for(tmp_path: Path):
    told = {"hw.optional.avx2_0": 1, "hw.optional.fma": 1, "hw.optional.bmi2": 1, "hw.optional.f16c": 1}
    assert features(tmp_path, told.get) == {"avx2", "fma", "bmi2", "f16c"}


def test_values_of_sysctl_are_numbers_or_texts():
    assert _decoded((1).to_bytes(4, "little")) == 1
    assert _decoded((2**33).to_bytes(8, "little")) == 2**33
    assert _decoded(b"Apple M1\0") == "Apple M1"
    assert _decoded(b"arm\0") == "arm"
    assert _decoded(b"\0\0\0\0") == 0


def test_memory_is_known_without_proc():
    total, available = foreign_memory()
    assert 2**28 < available <= total < 2**50


@pytest.mark.toolchain
@pytest.mark.skipif(architecture() != "x86_64", reason="not Linux on x86-64")
def test_the_processor_itself_says_what_the_kernel_lists():
    assert asked_features(open_library(cpuid_library())) == features() & set(CPUID_FEATURES)


def test_anonymous_memory_is_zeroed_also_where_it_cannot_be_private(monkeypatch):
    for name in ("MAP_PRIVATE", "MADV_HUGEPAGE"):
        with anonymous_memory(10_000) as memory:
            assert memory[:10_000] == bytes(10_000)
            memory[0] = 1
        monkeypatch.delattr("mmap." + name, raising=False)
