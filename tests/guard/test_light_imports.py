"""Starting up stays fast: which modules the light entries load is counted in a fresh interpreter."""

import subprocess
import sys

import pytest

# Packages outside the standard library that an entry may load; anything else is a step back in start-up time.
ALLOWED = {
    "import llm": {"llm", "llmos"},
    "import llmos": {"llmos"},
    "import llmos.models": {"llmos"},
    "import llmos.hardware": {"llmos"},
    "import llmos.cli": {"click", "llmos"},
    "from llmos.cli import main; main(['--help'])": {"click", "llmos"},
    "from llmos.cli import main; main(['run', '--help'])": {"click", "llmos"},
    "from llmos.cli import main; main(['train', '--help'])": {"click", "llmos"},
}

PROBE = """
import sys
before = set(sys.modules)
try:
    {code}
except SystemExit as stop:
    assert not stop.code, stop.code
top = {{name.split('.')[0] for name in set(sys.modules) - before}}
print('\\nLOADED', *sorted(top - set(sys.stdlib_module_names)))
"""


@pytest.mark.parametrize("code", ALLOWED)
def test_light_entries_load_no_heavy_package(code: str):
    done = subprocess.run([sys.executable, "-c", PROBE.format(code=code)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.rsplit("LOADED", 1)[1].split())
    assert {name for name in loaded if not name.startswith("_")} <= ALLOWED[code]
