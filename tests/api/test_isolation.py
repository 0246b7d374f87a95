"""With the network really cut, and with a cache folder that is full: namespaces of our own, real processes."""

import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.toolchain
MISSION = """
import warnings, llm
warnings.simplefilter("ignore")
model = llm.load_model("gpt-3")
text = model.generate_text("The quick brown fox jumps over the lazy dog.", temperature=0)
print(text)
"""


def isolated(kind: str, command: str, cache) -> subprocess.CompletedProcess:
    """A shell command in a new namespace: `n` without any network, `m` with mounts of its own."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, f"-r{kind}", "true"], capture_output=True, timeout=30).returncode:
        pytest.skip("cannot make a namespace here")
    env = {**os.environ, "LLMOS_CACHE": str(cache), "PY": sys.executable}
    return subprocess.run(
        [unshare, f"-r{kind}", "sh", "-c", command], env=env, capture_output=True, text=True, timeout=300
    )


def test_the_mission_script_runs_without_network(tmp_path):
    done = isolated(
        "n", f'"$PY" -c \'{MISSION}\' && "$PY" -m llmos.cli run "Once upon a time" --greedy --max-tokens 8', tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 20


def test_a_full_cache_is_one_clear_error_and_nothing_is_left(tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    command = f'mount -t tmpfs -o size=256k tmpfs {full} && "$PY" -m llmos.cli run hello; code=$?; find {full} -name "*.so"; exit $code'
    done = isolated("m", command, full)
    assert done.returncode == 3, done.stderr
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
