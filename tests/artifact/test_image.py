"""Images: what was written is read, what has changed since is noticed, and what a writer leaves is gone on with."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap
import threading
import zlib

import numpy as np
import pytest

from llmos.artifact import image as image_module
from llmos.artifact import map_packed, open_image, part_files, read_packed, remove_part, writing
from llmos.core.errors import FormatError, ResourceError
from llmos.core.locks import locked

KEY = "0123456789abcdef"
FACTS = {"key": KEY, "model": "a model"}
WEIGHTS = np.random.default_rng(0).integers(0, 256, 3 * (512 << 10) + 1000, np.uint8)
STRETCHES = [(at, min(400_000, len(WEIGHTS) - at)) for at in range(0, len(WEIGHTS), 400_000)]


def write(path, stop_after=None):
    """An image of WEIGHTS, or what a writer leaves that fails. Returns the stretches that it had to write."""
    written = []
    with writing(path, FACTS, len(WEIGHTS), zlib.crc32) as writer:
        for at, size in STRETCHES:
            if len(written) == stop_after:
                raise KeyboardInterrupt
            if not writer.has(at, size):
                writer.write(at, memoryview(WEIGHTS[at : at + size]))
                written.append(at)
    return written


def read(path):
    out = np.zeros_like(WEIGHTS)
    read_packed(open_image(path, KEY, len(WEIGHTS)), memoryview(out), zlib.crc32, threads=2)
    return out


@pytest.fixture
def image(tmp_path):
    path = tmp_path / f"{KEY}.image"
    write(path)
    return path


def change(path, at, size=1):
    data = bytearray(path.read_bytes())
    for i in range(at, at + size):
        data[i] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("drop_behind", [False, True])
def test_what_was_written_is_read_by_any_number_of_threads(image, drop_behind):
    packed = open_image(image, KEY, len(WEIGHTS))
    assert packed.offset % 4096 == 0
    for threads in (1, 2, 5):
        out = np.zeros_like(WEIGHTS)
        read_packed(packed, memoryview(out), zlib.crc32, threads=threads, drop_behind=drop_behind)
        np.testing.assert_array_equal(out, WEIGHTS)
    assert sorted(image.parent.iterdir()) == [image]


def test_what_was_written_is_mapped_and_cannot_be_changed_there(image):
    data = map_packed(open_image(image, KEY, len(WEIGHTS)), zlib.crc32)
    np.testing.assert_array_equal(data, WEIGHTS)
    with pytest.raises(ValueError, match="read-only"):
        data[0] = 1


def test_a_byte_of_the_head_that_has_changed_is_noticed(image):
    whole = image.read_bytes()
    described = len(json.dumps(FACTS)) + 8 * 4  # facts and checksums, of which the hash before them is one too
    for at in [*range(20), *range(32, 64 + described)]:
        change(image, at)
        with pytest.raises(FormatError):
            open_image(image, KEY, len(WEIGHTS))
        image.write_bytes(whole)


@pytest.mark.parametrize("at", [0, 1, 512 << 10, len(WEIGHTS) // 2, len(WEIGHTS) - 1])
def test_a_byte_of_the_weights_that_has_changed_is_noticed_while_it_is_read(image, at):
    change(image, open_image(image, KEY, len(WEIGHTS)).offset + at)
    with pytest.raises(FormatError, match="damaged") as caught:
        read(image)
    assert caught.value.offset is not None
    with pytest.raises(FormatError, match="damaged"):  # of this few checksums all are compared
        map_packed(open_image(image, KEY, len(WEIGHTS)), zlib.crc32)


@pytest.mark.parametrize("size", [0, 10, 63, 100, 4096, -1, 1])
def test_an_image_of_another_length_is_none(image, size):
    whole = image.read_bytes()
    image.write_bytes(whole[:size] if size != 1 else whole + b"x")
    with pytest.raises(FormatError):
        open_image(image, KEY, len(WEIGHTS))


def test_an_image_of_another_key_or_size_is_none(image):
    with pytest.raises(FormatError, match="other weights"):
        open_image(image, "another", len(WEIGHTS))
    with pytest.raises(FormatError, match="cut off, or longer"):
        open_image(image, KEY, len(WEIGHTS) + 1)


def test_what_a_writer_left_is_gone_on_with(tmp_path):
    path = tmp_path / "x.image"
    with pytest.raises(KeyboardInterrupt):
        write(path, stop_after=2)
    assert not path.exists()
    assert write(path) == [at for at, _ in STRETCHES[2:]]
    np.testing.assert_array_equal(read(path), WEIGHTS)
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_left_and_has_changed_since_is_written_again(tmp_path):
    path = tmp_path / "x.image"
    with pytest.raises(KeyboardInterrupt):
        write(path, stop_after=3)
    change(part_files(path)[0], 4096 + 400_000 + 5)  # of the second
    with part_files(path)[1].open("a") as journal:
        journal.write("800000 4000")  # a line that was cut off
    assert write(path) == [400_000, *(at for at, _ in STRETCHES[3:])]
    np.testing.assert_array_equal(read(path), WEIGHTS)


def test_what_was_left_of_another_size_is_not_used(tmp_path):
    path = tmp_path / "x.image"
    with pytest.raises(KeyboardInterrupt):
        write(path, stop_after=3)
    os.truncate(part_files(path)[0], 5000)
    assert write(path) == [at for at, _ in STRETCHES]
    np.testing.assert_array_equal(read(path), WEIGHTS)


def test_of_two_writers_the_second_waits_and_has_nothing_to_do(tmp_path):
    path, found = tmp_path / "x.image", []
    begun = threading.Event()

    def second():
        begun.set()
        with writing(path, FACTS, len(WEIGHTS), zlib.crc32) as writer:
            found.append(writer)

    with writing(path, FACTS, len(WEIGHTS), zlib.crc32) as writer:
        other = threading.Thread(target=second)
        other.start()
        begun.wait()
        for at, size in STRETCHES:
            writer.write(at, memoryview(WEIGHTS[at : at + size]))
        assert not found
    other.join()
    assert found == [None]
    np.testing.assert_array_equal(read(path), WEIGHTS)
    assert list(tmp_path.iterdir()) == [path]


def first_of_two(path, begun):
    """Writes a stretch and fails."""
    with writing(path, FACTS, len(WEIGHTS), zlib.crc32) as writer:
        begun.set()
        writer.write(0, memoryview(WEIGHTS[:400_000]))
        raise KeyboardInterrupt


def test_of_two_writers_the_second_goes_on_with_what_the_first_left(tmp_path):
    path, found = tmp_path / "x.image", []
    begun = threading.Event()

    def second():
        begun.wait()
        found.extend(write(path))

    other = threading.Thread(target=second)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        first_of_two(path, begun)
    other.join()
    assert found in ([at for at, _ in STRETCHES[1:]], [at for at, _ in STRETCHES])  # all where it was the first
    np.testing.assert_array_equal(read(path), WEIGHTS)


def test_what_is_being_written_is_not_removed_and_what_a_writer_left_is(tmp_path):
    path = tmp_path / "x.image"
    part = part_files(path)[0]
    with writing(path, FACTS, len(WEIGHTS), zlib.crc32) as writer:
        assert not remove_part(part) and part.exists()
        for at, size in STRETCHES:
            writer.write(at, memoryview(WEIGHTS[at : at + size]))
    np.testing.assert_array_equal(read(path), WEIGHTS)
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        write(path, stop_after=2)
    assert remove_part(part) and not part.exists()
    assert not remove_part(part)


def begun_by_another(path):
    """A writer of the same image has its file removed by hand, and another begins one; then the first ends. Gives the other's file."""
    part, journal = part_files(path)
    with writing(path, FACTS, len(WEIGHTS), zlib.crc32) as writer:
        for at, size in STRETCHES:
            writer.write(at, memoryview(WEIGHTS[at : at + size]))
        part.unlink()
        part.write_bytes(b"half of another")
        journal.write_text("of another")


def test_a_writer_whose_file_was_removed_gives_no_name_to_that_of_another(tmp_path):
    path = tmp_path / "x.image"
    with pytest.raises(ResourceError, match="was removed while it was written"):
        begun_by_another(path)
    assert not path.exists()
    assert [file.read_text() for file in part_files(path)] == ["half of another", "of another"]


def fails(path):
    """A writer that meets a full disk."""
    with writing(path, FACTS, len(WEIGHTS), zlib.crc32) as writer:
        writer.write(0, memoryview(WEIGHTS[:400_000]))
        raise OSError(28, "no space left")


def test_what_a_full_disk_leaves_is_gone_before_whoever_waits_for_it_gets_it(tmp_path, monkeypatch):
    @contextlib.contextmanager
    def watched(file):
        with locked(file):
            try:
                yield
            finally:
                left.extend(tmp_path.iterdir())

    left = []
    monkeypatch.setattr(image_module, "locked", watched)
    with pytest.raises(ResourceError, match="no space left"):
        fails(tmp_path / "x.image")
    assert left == []


@pytest.mark.skipif(sys.platform == "win32", reason="not Linux")
def test_a_disk_that_takes_no_more_is_told_and_nothing_is_left(tmp_path):
    code = textwrap.dedent(f"""
        import resource, zlib
        from llmos.artifact import writing
        from llmos.core.errors import ResourceError
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))  # the system refuses to write on, as on a full disk
        from pathlib import Path
        try:
            with writing(Path({str(tmp_path)!r}) / "x.image", {FACTS!r}, 500_000, zlib.crc32) as writer:
                resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 600_000))
                writer.write(0, memoryview(bytes(400_000)))
        except ResourceError as error:
            print("told:", error)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("told: cannot write"), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ResourceError, match="cannot write"),
        writing(tmp_path / "file" / "x.image", FACTS, 1, zlib.crc32),
    ):
        pass
