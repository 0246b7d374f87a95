"""A file is whole or absent, whatever happens while it is written."""

import os
import stat
import subprocess
import sys

import pytest

from llmos.core.errors import UserError
from llmos.core.files import atomic_directory, atomic_write, make_directory, sha256_file


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_with_the_rights_of_a_new_file(tmp_path):
    mask = os.umask(0o022)
    try:
        with atomic_write(tmp_path / "x") as file:
            file.write(b"half")
            assert not (tmp_path / "x").exists()
            file.write(b" and half")
    finally:
        os.umask(mask)
    assert (tmp_path / "x").read_bytes() == b"half and half"
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644
    assert names(tmp_path) == ["x"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "x").write_bytes(b"old")

    def write():
        with atomic_write(tmp_path / "x") as file:
            file.write(b"new")
            raise KeyError("something")

    with pytest.raises(KeyError):
        write()
    assert (tmp_path / "x").read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    code = (
        "import os, sys; from llmos.core.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file: file.write(b'new'); file.flush(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], timeout=60)
    assert done.returncode == -9
    assert (tmp_path / "x").read_bytes() == b"old"


def test_a_folder_replaces_an_older_one_as_a_whole(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "old").write_text("old")
    with atomic_directory(tmp_path / "x") as folder:
        (folder / "new").write_text("new")
        assert names(tmp_path / "x") == ["old"]
    assert names(tmp_path / "x") == ["new"]
    assert names(tmp_path) == ["x"]


def test_an_error_leaves_the_old_folder(tmp_path):
    (tmp_path / "x").mkdir()

    def write():
        with atomic_directory(tmp_path / "x") as folder:
            (folder / "new").write_text("new")
            raise KeyError("something")

    with pytest.raises(KeyError):
        write()
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == []


@pytest.mark.parametrize("write", [atomic_write, atomic_directory])
def test_a_file_where_a_folder_should_be_is_a_clear_error(tmp_path, write):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file"), write(tmp_path / "file" / "x"):
        pass
    with pytest.raises(UserError, match="cannot write"):
        make_directory(tmp_path / "file" / "y")


@pytest.mark.parametrize("write", [atomic_write, atomic_directory])
def test_a_folder_that_takes_no_files_is_named_as_it_was_given(write):
    with pytest.raises(UserError, match=r"^cannot write /proc/x\.llm: .*choose a folder that you may write$"):
        write("/proc/x.llm").__enter__()


def test_the_digest_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
