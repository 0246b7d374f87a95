"""What every test shares: one cache folder, the data folder, no network, and skips that must be foreseen.

A continuous build runs pytest with `--fail-on-skip`; then a skip whose reason matches none of `EXPECTED` and none of the
`--allow-skip` patterns fails the run, so that a missing need cannot hide a test.
"""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Reasons that depend on the machine alone.
EXPECTED = (
    r"cannot run target",
    r"cannot make a namespace",
    r"no accelerator",
    r"needs a browser",
    r"no compiler with AddressSanitizer",
    r"not Linux",
    r"qemu-\w+ is not installed",
)

# Child processes find the package too, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
os.environ.setdefault("LLMOS_CACHE", str(ROOT / ".work" / "test-cache"))
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_LOOPBACK = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "", None)


def _refuse_network(event: str, args: tuple) -> None:
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in _LOOPBACK:
        raise RuntimeError(f"a test tried to reach {args[1]}: only loopback is allowed")
    if event == "socket.getaddrinfo" and args[0] not in _LOOPBACK:
        raise RuntimeError(f"a test tried to look up {args[0]!r}: only loopback is allowed")


sys.addaudithook(_refuse_network)

# A job started in the background ignores ctrl-C and hands that on; the tests of ctrl-C need it as a user has it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="fail when a test skips for an unforeseen reason")
    parser.addoption(
        "--allow-skip", action="append", default=[], metavar="REGEX", help="a further skip reason to accept"
    )


class _Skips:
    """Collects the skips that nobody foresaw and fails the session for them."""

    def __init__(self, allowed: tuple[str, ...]):
        self.allowed, self.unforeseen = allowed, []

    def _note(self, report) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(re.search(pattern, reason) for pattern in self.allowed):
            self.unforeseen.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report) -> None:
        self._note(report)

    def pytest_collectreport(self, report) -> None:
        self._note(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node, error) -> None:
        """What a worker of pytest-xdist skipped while it collected is known to it alone."""
        told = getattr(node, "workeroutput", {}).get("unforeseen", ())
        self.unforeseen += [skip for skip in told if skip not in self.unforeseen]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["unforeseen"] = self.unforeseen
        if self.unforeseen and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter) -> None:
        if self.unforeseen:
            terminalreporter.section("skips that were not foreseen")
            for skip in self.unforeseen:
                terminalreporter.write_line(skip)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--fail-on-skip"):
        config.pluginmanager.register(_Skips((*EXPECTED, *config.getoption("--allow-skip"))), "unforeseen-skips")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The data folder named by LLMOS_TEST_DATA (real-weights/, tokenizers/, eval/, ...)."""
    from llmos.core.env import environment

    folder = environment().test_data
    if folder is None:
        pytest.skip("LLMOS_TEST_DATA is not set")
    assert folder.is_dir(), f"LLMOS_TEST_DATA is {folder}, which is not a folder"
    return folder
