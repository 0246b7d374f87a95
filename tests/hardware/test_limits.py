"""Limits of containers, caches and accelerators, read from file trees made for the test."""

import os
from pathlib import Path

import pytest

from llmos.hardware import accelerators, caches, features, memory, model_name, topology, usable_cores

GIB = 2**30


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = f"MemTotal: {16 * 2**20} kB\nMemFree: 1 kB\nMemAvailable: {12 * 2**20} kB\n"


def test_a_machine_without_proc_and_sys_is_described_all_the_same(tmp_path: Path):
    assert features(tmp_path) == frozenset()
    assert model_name(tmp_path)
    assert caches(tmp_path) == []
    assert topology(tmp_path).cores == os.cpu_count()
    assert memory(tmp_path).total > 0
    assert accelerators(tmp_path, nvml="no-such-library.so") == []


def test_features_are_the_flags_of_the_first_processor(tmp_path: Path):
    tree(
        tmp_path,
        {"proc/cpuinfo": "processor : 0\nmodel name : Some CPU\nflags\t\t: fma avx2\n\nprocessor : 1\nflags : sse\n"},
    )
    assert features(tmp_path) == {"fma", "avx2"}
    assert model_name(tmp_path) == "Some CPU"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/self/cgroup": "0::/box\n", "sys/fs/cgroup/box/cpu.max": "100000 100000\n"}, 1),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "50000 100000",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000",
            },
            1,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "105000 100000"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "149000 100000"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "240000 100000"}, 2),
        ({"proc/self/cgroup": "0::/not/visible\n", "sys/fs/cgroup/cpu.max": "20000 100000"}, 1),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/box\n1:name=systemd:/\n",
                "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "90000",
                "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000",
            },
            1,
        ),
    ],
)
def test_a_cgroup_quota_limits_the_cores_to_use(tmp_path: Path, files: dict[str, str], expected: int):
    assert usable_cores(tree(tmp_path, files)) == min(expected, usable_cores(tmp_path / "no limit"))


@pytest.mark.parametrize("text", ["max 100000", "-1", "nonsense", ""])
def test_a_cgroup_without_a_quota_leaves_the_affinity_mask(tmp_path: Path, text: str):
    root = tree(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": text})
    assert usable_cores(root) == usable_cores(tmp_path / "elsewhere")


def test_the_smallest_memory_limit_of_all_ancestors_holds(tmp_path: Path):
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/a/b\n",
        "sys/fs/cgroup/a/memory.max": str(4 * GIB),
        "sys/fs/cgroup/a/memory.current": str(3 * GIB),
        "sys/fs/cgroup/a/memory.stat": f"anon 5\ninactive_file {GIB}\n",
        "sys/fs/cgroup/a/b/memory.max": "max",
    }
    found = memory(tree(tmp_path, files))
    assert (found.total, found.available, found.limit) == (16 * GIB, 2 * GIB, 4 * GIB)


def test_the_unlimited_number_of_cgroup_version_1_is_no_limit(tmp_path: Path):
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "4:memory:/box\n",
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/box/memory.usage_in_bytes": str(GIB),
    }
    found = memory(tree(tmp_path, files))
    assert (found.available, found.limit) == (12 * GIB, None)


def test_instruction_caches_are_left_out_and_sizes_understood(tmp_path: Path):
    base = "sys/devices/system/cpu/cpu0/cache"
    files = {}
    rows = [
        ("0", "1", "48K", "Data", "0"),
        ("1", "1", "32K", "Instruction", "0"),
        ("2", "3", "32M", "Unified", "0-3,8"),
    ]
    for index, level, size, kind, shared in rows:
        names = {"level": level, "size": size, "type": kind, "shared_cpu_list": shared, "coherency_line_size": "64"}
        files |= {f"{base}/index{index}/{name}": text for name, text in names.items()}
    found = caches(tree(tmp_path, files))
    assert [(cache.level, cache.size_bytes, cache.shared_by) for cache in found] == [
        (1, 48 * 2**10, 1),
        (3, 32 * 2**20, 5),
    ]


def test_pci_accelerators_are_those_of_known_makers_and_classes(tmp_path: Path):
    def device(slot: str, vendor: str, kind: str) -> dict[str, str]:
        folder = f"sys/bus/pci/devices/{slot}"
        return {f"{folder}/vendor": vendor, f"{folder}/class": kind, f"{folder}/device": "0x1234"}

    files = device("a", "0x10de", "0x030200") | device("b", "0x1002", "0x120000")
    files |= device("c", "0x10de", "0x040300") | device("d", "0x1af4", "0x030000")
    found = accelerators(tree(tmp_path, files), nvml="no-such-library.so")
    assert [(item.vendor, item.usable) for item in found] == [("NVIDIA", False), ("AMD", False)]
