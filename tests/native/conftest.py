"""AddressSanitizer, of a compiler that the machine has: the bundled toolchain has no runtime for it."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from llmos.native import include_dir
from tests.native_programs import FLAGS

ADDRESSES = ["-O1", "-g1", "-march=native", "-fsanitize=address", "-fno-sanitize-recover=all"]


@cache
def sanitizing_compiler(folder: Path) -> str | None:
    """A compiler of this machine that makes and runs sanitized programs."""
    (folder / "x.cc").write_text("int main() { return 0; }")
    for name in filter(shutil.which, ("clang++", "g++")):
        command = [name, *ADDRESSES, str(folder / "x.cc"), "-o", str(folder / "x")]
        if subprocess.run(command, capture_output=True).returncode == 0:
            return name if subprocess.run([folder / "x"]).returncode == 0 else None
    return None


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """Compiles a source with AddressSanitizer and the flags given besides; gives the program."""
    folder = tmp_path_factory.mktemp("sanitized")
    compiler = sanitizing_compiler(folder)
    if compiler is None:
        pytest.skip("no compiler with AddressSanitizer")

    def build(source: Path, *more: str) -> Path:
        program = folder / source.stem
        flags = [flag for flag in FLAGS if flag != "-Werror"]  # its warnings are not those of the bundled compiler
        command = [compiler, *flags, "-w", *ADDRESSES, *more, f"-I{include_dir()}", source, "-o", program]
        subprocess.run(command, check=True)
        return program

    return build
