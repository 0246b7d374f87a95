"""The process environment, read in this one place. An unknown LLMOS_* name is refused: it is a typing error."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmos.core.errors import UserError
from llmos.core.units import parse_bytes

__all__ = ["Environment", "environment"]

_KNOWN = {
    "LLMOS_BENCH_PEERS": "interpreters with peers to benchmark beside: llama.cpp=PYTHON,openvino=PYTHON",
    "LLMOS_CACHE": "folder for compiled code and packed weights (default: llmos in $XDG_CACHE_HOME, on Windows in %LOCALAPPDATA%)",
    "LLMOS_CC": "C++ compiler to use in place of the bundled one, with its arguments",
    "LLMOS_HUB_ENDPOINT": "address of a Hugging Face compatible hub (default: HF_ENDPOINT, then the public one)",
    "LLMOS_IMAGES": "size that packed weights may take in the cache, such as 20GiB, or off to keep none (default: 32GiB)",
    "LLMOS_LOG": "log level: debug, info, warning (default), error",
    "LLMOS_MEMORY": "auto (default), fast or mapped: how weights are held in memory",
    "LLMOS_OFFLINE": "1: never use the network",
    "LLMOS_TARGET": "instruction set to compile for: portable, x86-64-v3, x86-64-v4 (default: the best of this machine)",
    "LLMOS_TEST_DATA": "folder with the test suite's data",
    "LLMOS_TEST_LLAMA_CPP": "Python interpreter with llama-cpp-python, which the test suite compares with",
    "LLMOS_THREADS": "threads to use (default: the cores that this process may use)",
}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the environment says. Fields are None where a variable is unset. images_bytes: 0 where none are kept."""

    bench_peers: str | None = None
    cache: Path
    cc: str | None = None
    hub_endpoint: str | None = None
    images_bytes: int = 32 << 30
    log: str = "warning"
    memory: str = "auto"
    offline: bool = False
    state: Path
    target: str | None = None
    test_data: Path | None = None
    test_llama_cpp: str | None = None
    threads: int | None = None


def environment(variables: Mapping[str, str] = os.environ) -> Environment:
    """The settings in `variables`. Raises UserError for an unknown LLMOS_* name or a value that cannot be used."""
    for name in variables:
        if name.startswith("LLMOS_") and name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_KNOWN)}"
            raise UserError(f"environment variable {name} is not known to LLMOS: {hint}")
    test_data = variables.get("LLMOS_TEST_DATA")
    return Environment(
        bench_peers=variables.get("LLMOS_BENCH_PEERS") or None,
        cache=_cache(variables),
        cc=variables.get("LLMOS_CC") or None,
        hub_endpoint=variables.get("LLMOS_HUB_ENDPOINT") or variables.get("HF_ENDPOINT") or None,
        images_bytes=_images_bytes(variables.get("LLMOS_IMAGES") or "32GiB"),
        memory=_memory(variables.get("LLMOS_MEMORY") or "auto"),
        log=_log_level(variables.get("LLMOS_LOG") or "warning"),
        state=_state(variables),
        offline=(variables.get("LLMOS_OFFLINE") or "0") not in ("0", "false", "no"),
        target=variables.get("LLMOS_TARGET") or None,
        test_data=Path(test_data) if test_data else None,
        test_llama_cpp=variables.get("LLMOS_TEST_LLAMA_CPP") or None,
        threads=_threads(variables.get("LLMOS_THREADS")),
    )


def _cache(variables: Mapping[str, str]) -> Path:
    if variables.get("LLMOS_CACHE"):
        return Path(variables["LLMOS_CACHE"])
    base = (
        variables.get("XDG_CACHE_HOME")
        or variables.get("LOCALAPPDATA")
        or os.path.join(os.path.expanduser("~"), ".cache")
    )
    return Path(base) / "llmos"


def _state(variables: Mapping[str, str]) -> Path:
    """Where the history of chats is kept."""
    base = (
        variables.get("XDG_STATE_HOME")
        or variables.get("LOCALAPPDATA")
        or os.path.join(os.path.expanduser("~"), ".local", "state")
    )
    return Path(base) / "llmos"


def _log_level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise UserError(f"LLMOS_LOG is {text!r}; allowed: debug, info, warning, error")
    return text.lower()


def _images_bytes(text: str) -> int:
    if text.lower() in ("off", "no", "0"):
        return 0
    try:
        return parse_bytes(text)
    except UserError:
        raise UserError(f"LLMOS_IMAGES is {text!r}; it must be a size such as 20GiB, or off") from None


def _memory(text: str) -> str:
    if text not in ("auto", "fast", "mapped"):
        raise UserError(f"LLMOS_MEMORY is {text!r}; allowed: auto, fast, mapped")
    return text


def _threads(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"LLMOS_THREADS is {text!r}; it must be a whole number of at least 1")
    return int(text)
