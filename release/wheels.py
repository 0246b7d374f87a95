"""Builds a wheel for each platform: `make wheels`.

They hold the same Python. What makes them wheels of a platform is the embedded model's code, compiled here for every target of
the platform's processors, so that the first run there compiles nothing. The code lies in `llmos/prebuilt` under the names of the
local cache, which say from what it was made: code that does not fit the Python beside it is never found.
"""

import argparse
import base64
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmos.api.opening import open_source
from llmos.api.options import choose_options
from llmos.compiler import TARGETS, build_graph, compile_code
from llmos.compiler.processor import cpuid_library
from llmos.core.errors import LlmosError, UserError
from llmos.models import DEFAULT_MODEL
from llmos.native import include_dir, sources_hash

ROOT = Path(__file__).resolve().parents[1]
PREBUILT = "llmos/prebuilt"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """tag: of the wheel's name. Source: packaging.python.org, platform compatibility tags."""

    tag: str
    system: str
    architecture: str


# The oldest systems are those of the toolchain's own wheels, without which nothing else is compiled there.
PLATFORMS = (
    Platform(tag="manylinux_2_28_x86_64", system="linux", architecture="x86_64"),
    Platform(tag="manylinux_2_28_aarch64", system="linux", architecture="aarch64"),
    Platform(tag="macosx_13_0_x86_64", system="macos", architecture="x86_64"),
    Platform(tag="macosx_13_0_arm64", system="macos", architecture="aarch64"),
    Platform(tag="win_amd64", system="windows", architecture="x86_64"),
)


def main(arguments: list[str] | None = None) -> None:
    """Build the wheels that are asked for and say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist", help="folder for the wheels [dist]")
    parser.add_argument("tags", nargs="*", metavar="PLATFORM", help=f"of {', '.join(p.tag for p in PLATFORMS)} [all]")
    given = parser.parse_args(arguments)
    unknown = set(given.tags) - {platform.tag for platform in PLATFORMS}
    if unknown:
        parser.error(f"unknown platform: {', '.join(sorted(unknown))}")
    if os.environ.get("LLMOS_CC"):
        parser.error("LLMOS_CC is set: wheels are built with the bundled compiler, whose code its users' key names")
    try:
        wheels(given.output, [platform for platform in PLATFORMS if not given.tags or platform.tag in given.tags])
    except LlmosError as error:
        sys.exit(f"wheels: {error}")


def wheels(output: Path, platforms: list[Platform]) -> list[Path]:
    """Build the wheels of some platforms into a folder. Returns their paths."""
    output.mkdir(parents=True, exist_ok=True)
    built = []
    with tempfile.TemporaryDirectory() as folder:
        pure = pure_wheel(Path(folder))
        for platform in platforms:
            libraries = prebuilt(platform)
            wheel = output / pure.name.replace("-any.whl", f"-{platform.tag}.whl")
            write_wheel(pure, wheel, platform, libraries)
            code = sum(path.stat().st_size for path in libraries)
            print(
                f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, of code {code / 1e6:.1f} MB unpacked", flush=True
            )
            built.append(wheel)
    return built


def pure_wheel(folder: Path) -> Path:
    """The wheel of the Python alone, as hatchling builds it from the checkout."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"hatchling does not build the wheel: {done.stderr.strip()[-2000:]}")
    (wheel,) = folder.glob("*.whl")
    return wheel


def prebuilt(platform: Platform) -> list[Path]:
    """Libraries of a platform: the embedded model for every target, and what asks for the processor's features on Windows."""
    source = open_source(DEFAULT_MODEL)
    graph = build_graph(source.spec, choose_options(source, None, None))
    targets = [
        target.on(platform.system) for target in TARGETS.values() if target.architecture == platform.architecture
    ]
    kernels = {"include": include_dir(), "kernels_hash": sources_hash()}
    libraries = [compile_code(graph, target, **kernels) for target in targets]
    return libraries + ([cpuid_library("windows")] if platform.system == "windows" else [])


def write_wheel(pure: Path, wheel: Path, platform: Platform, libraries: list[Path]) -> None:
    """A copy of a pure wheel with libraries in it and the tag of a platform. Equal input gives equal bytes."""
    record: list[str] = []
    with zipfile.ZipFile(pure) as old, zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in _entries(old, platform, libraries):
            _write(new, name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}\n")
        name = next(name for name in old.namelist() if name.endswith(".dist-info/RECORD"))
        _write(new, name, "".join([*record, f"{name},,\n"]).encode())


def _entries(old: zipfile.ZipFile, platform: Platform, libraries: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of all entries but RECORD."""
    for name in old.namelist():
        if name.endswith(".dist-info/WHEEL"):
            lines = old.read(name).decode()
            yield (
                name,
                lines.replace("Is-Purelib: true", "Is-Purelib: false")
                .replace("none-any", f"none-{platform.tag}")
                .encode(),
            )
        elif not name.endswith((".dist-info/RECORD", "/")):
            yield name, old.read(name)
    for path in libraries:
        yield f"{PREBUILT}/{path.name}", path.read_bytes()


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=(2020, 2, 2, 0, 0, 0))  # as hatchling dates them
    entry.external_attr = 0o100644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)


if __name__ == "__main__":
    main()
