"""The toolchain: what goes wrong is said, and nothing half-made stays."""

from pathlib import Path

import pytest

from llmos.compiler import TARGETS, build_shared, toolchain
from llmos.core.errors import LlmosError, ResourceError, UserError

PORTABLE = TARGETS["portable"]
pytestmark = pytest.mark.toolchain


def test_code_that_does_not_compile_leaves_no_library(tmp_path):
    source = tmp_path / "bad.cc"
    source.write_text("int main( {")
    with pytest.raises(LlmosError, match="refused"):
        build_shared(source, tmp_path / "out" / "x.so", PORTABLE)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_compiler_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMOS_CC", "no-such-compiler")
    source = tmp_path / "good.cc"
    source.write_text('extern "C" int f(void) { return 1; }\n')
    with pytest.raises(ResourceError, match="pip install ziglang"):
        build_shared(source, tmp_path / "x.so", PORTABLE)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("LLMOS_CACHE", str(blocker / "cache"))
    source = tmp_path / "good.cc"
    source.write_text('extern "C" int f(void) { return 1; }\n')
    with pytest.raises(UserError, match="LLMOS_CACHE"):
        build_shared(source, tmp_path / "x.so", PORTABLE)


def test_a_compiler_that_was_killed_is_no_defect_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMOS_CC", "sh -c 'kill -9 $$'")
    with pytest.raises(ResourceError, match="ended by signal 9"):
        build_shared(tmp_path / "good.cc", tmp_path / "out" / "x.so", PORTABLE)
    assert list((tmp_path / "out").iterdir()) == []


def test_wrong_arguments_of_another_compiler_are_its_users(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMOS_CC", "sh -c 'echo unrecognized option -foo >&2; exit 1'")
    with pytest.raises(ResourceError, match=r"(?s)LLMOS_CC = .* does not compile the code.*-foo"):
        build_shared(tmp_path / "good.cc", tmp_path / "out" / "x.so", PORTABLE)


def test_a_compiler_that_hangs_is_ended_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "_TIMEOUT_S", 0.5)
    monkeypatch.setenv("LLMOS_CC", f"sh -c 'sleep 600 & echo $! > {tmp_path}/child; wait'")
    with pytest.raises(ResourceError, match="did not finish"):
        build_shared(tmp_path / "good.cc", tmp_path / "out" / "x.so", PORTABLE)
    assert list((tmp_path / "out").iterdir()) == []
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "cmdline")
    assert not child.exists() or child.read_bytes() == b""  # gone, or not yet buried
