"""Where weights and pages lie: memory of this process alone, in huge pages."""

import re
from pathlib import Path

import pytest

from llmos.core.errors import ResourceError
from llmos.runtime.abi import address
from llmos.runtime.executor import arena

MIB = 2**20
GRANTED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def mapping(at: int) -> str:
    """The entry of /proc/self/smaps that holds an address."""
    entries = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.M)[1:]
    return next(e for e in entries if (r := re.match(r"(\w+)-(\w+)", e)) and int(r[1], 16) <= at < int(r[2], 16))


def test_a_filled_arena_is_private_and_in_huge_pages():
    memory = arena(64 * MIB, "a test")
    memory.write(b"x" * 64 * MIB)
    entry = mapping(address(memory) + 32 * MIB)
    assert re.match(r"\S+ rw-p", entry), entry
    huge_kib = int(re.search(r"^AnonHugePages:\s+(\d+) kB", entry, re.M)[1])
    assert huge_kib > 0 or not GRANTED.exists() or "[never]" in GRANTED.read_text(), entry


def test_memory_that_cannot_be_had_says_for_what_it_was():
    with pytest.raises(ResourceError, match="of memory for weights cannot be had"):
        arena(2**62, "weights")
