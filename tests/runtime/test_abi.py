"""The ctypes mirror has the sizes, offsets and constants of the header."""

import ctypes
import os
import re
import subprocess
import sys

import pytest

from llmos.core.env import environment
from llmos.native import include_dir
from llmos.runtime import abi

HEADER = include_dir() / "llmos" / "step.h"
PAIRS = (
    ("LlmosModel", abi.Model),
    ("LlmosStep", abi.Step),
    ("LlmosSampling", abi.Sampling),
    ("LlmosSources", abi.Sources),
)


@pytest.mark.toolchain
def test_mirror_equals_header(tmp_path):
    lines = []
    for name, mirror in PAIRS:
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        lines += [f'printf("{name}.{f[0]} %zu\\n", offsetof({name}, {f[0]}));' for f in mirror._fields_]
    source = tmp_path / "layout.c"
    body = "\n".join(lines)
    source.write_text(f'#include <stdio.h>\n#include "llmos/step.h"\nint main(void) {{ {body} return 0; }}\n')
    program = tmp_path / "layout"
    command = [sys.executable, "-m", "ziglang", "cc", f"-I{include_dir()}", str(source), "-o", str(program)]
    cache = environment().cache / "toolchain"
    variables = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache / "local")}
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=variables)
    printed = subprocess.run([str(program)], check=True, capture_output=True, text=True, timeout=60).stdout
    expected = []
    for name, mirror in PAIRS:
        expected.append(f"{name} {ctypes.sizeof(mirror)}")
        expected += [f"{name}.{f[0]} {getattr(mirror, f[0]).offset}" for f in mirror._fields_]
    assert printed.split("\n")[:-1] == expected


def test_constants_equal_those_of_the_header():
    defined = dict(re.findall(r"#define LLMOS_(\w+) \(?(-?\d+)", HEADER.read_text()))
    mirrored = {name: getattr(abi, name) for name in ("ABI_VERSION", "PAGE_TOKENS", "NO_TOKEN", "NONE_ALLOWED")}
    assert {name: int(value) for name, value in defined.items()} == mirrored
    assert set(constants("LlmosStatus").values()) == {0, *abi.STATUS}
    assert constants("LlmosStatus")["BAD_NUMBER"] == abi.BAD_NUMBER
    assert constants("LlmosFormat") == {name.upper(): value for name, value in abi.FORMATS.items()}


def test_every_function_is_exported_where_it_is_first_named():
    """Windows exports nothing else, and compilers for it complain where only the definition says so."""
    functions = re.findall(r"^(.*\b)llmos_\w+\(", re.sub(r"//.*", "", HEADER.read_text()), re.M)
    assert len(functions) >= 10
    assert all(before.startswith("LLMOS_API ") for before in functions), functions


def constants(enum: str) -> dict[str, int]:
    """The names of an enumeration of the header, without their prefix."""
    body = re.search(rf"enum {enum} {{(.*?)}};", HEADER.read_text(), re.S)
    assert body
    return {name: int(value) for name, value in re.findall(r"LLMOS_(\w+) = (\d+)", body[1])}
