"""Wheels of every platform: built here, installed and run where this machine is one of the platforms, else looked into."""

import base64
import hashlib
import importlib.util
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from llmos.hardware import architecture
from tests.binary_files import described

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
KINDS = {"linux": "elf", "macos": "mach-o", "windows": "pe"}
EXPORTED = {"llmos_abi_version", "llmos_step", "llmos_pack", "llmos_pool_create", "llmos_pool_destroy"}


def release_script():
    spec = importlib.util.spec_from_file_location("wheels", ROOT / "release" / "wheels.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["wheels"] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


RELEASE = release_script()
PLATFORMS = {platform.tag: platform for platform in RELEASE.PLATFORMS}


@pytest.fixture(scope="module")
def pure(tmp_path_factory) -> Path:
    pytest.importorskip("hatchling")
    return RELEASE.pure_wheel(tmp_path_factory.mktemp("pure"))


def built(pure: Path, folder: Path, tag: str) -> Path:
    wheel = folder / pure.name.replace("-any.whl", f"-{tag}.whl")
    RELEASE.write_wheel(pure, wheel, PLATFORMS[tag], RELEASE.prebuilt(PLATFORMS[tag]))
    return wheel


def check_record(archive: zipfile.ZipFile) -> None:
    """Every entry is recorded with its hash and size, the record itself without."""
    name = next(name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
    rows = dict(line.split(",", 1) for line in archive.read(name).decode().splitlines())
    assert rows.pop(name) == ","
    assert rows.keys() == set(archive.namelist()) - {name}
    for entry, row in rows.items():
        data = archive.read(entry)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        assert row == f"sha256={digest},{len(data)}"


@pytest.mark.parametrize("tag", PLATFORMS)
def test_a_wheel_brings_the_code_of_its_platform(tag, pure, tmp_path):
    platform = PLATFORMS[tag]
    with zipfile.ZipFile(built(pure, tmp_path, tag)) as archive:
        check_record(archive)
        about = next(name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        lines = archive.read(about).decode().splitlines()
        assert f"Tag: py3-none-{tag}" in lines
        assert "Root-Is-Purelib: false" in lines
        libraries = [name for name in archive.namelist() if name.startswith("llmos/prebuilt/")]
        archive.extractall(tmp_path, libraries)
    found = [described(tmp_path / name) for name in libraries]
    assert {(kind, machine) for kind, machine, _ in found} == {(KINDS[platform.system], platform.architecture)}
    models = [names for _, _, names in found if names >= EXPORTED]
    assert len(models) == (5 if platform.architecture == "x86_64" else 2)
    assert len(libraries) - len(models) == (1 if platform.system == "windows" else 0)
    assert not any(os.fsencode(ROOT) in (tmp_path / name).read_bytes() for name in libraries)


def test_equal_input_gives_an_equal_wheel(pure, tmp_path):
    libraries = RELEASE.prebuilt(PLATFORMS["manylinux_2_28_x86_64"])
    for name in ("a.whl", "b.whl"):
        RELEASE.write_wheel(pure, tmp_path / name, PLATFORMS["manylinux_2_28_x86_64"], libraries)
    assert (tmp_path / "a.whl").read_bytes() == (tmp_path / "b.whl").read_bytes()


def installed(folder: Path, wheel: Path) -> Path:
    """The python of a fresh environment with the wheel, and the packages of this one behind it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([sys.executable, *install, "--quiet", str(wheel)], check=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "behind.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python


@pytest.mark.skipif(sys.platform != "linux" or architecture() not in ("x86_64", "aarch64"), reason="not Linux")
def test_the_first_run_of_an_installed_wheel_compiles_nothing(pure, tmp_path):
    wheel = built(pure, tmp_path, f"manylinux_2_28_{architecture()}")
    python = installed(tmp_path / "venv", wheel)
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LLMOS_CACHE")}
    variables |= {"LLMOS_CACHE": str(tmp_path / "cache"), "LLMOS_LOG": "debug"}
    where = subprocess.run(
        [str(python), "-c", "import llmos; print(llmos.__file__)"], capture_output=True, text=True, env=variables
    )
    assert where.stdout.startswith(str(tmp_path / "venv")), where.stderr
    for target in ([], ["portable"]):
        command = [str(python), "-m", "llmos.cli", "run", "Once upon a time", "--greedy", "--max-tokens", "4"]
        more = {"LLMOS_TARGET": target[0]} if target else {}
        done = subprocess.run(command, capture_output=True, text=True, env=variables | more)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.split()) >= 3
    made = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert [path for path in made if path.suffix in (".so", ".cc", ".o")] == []
    assert not (tmp_path / "cache" / "toolchain").exists()
