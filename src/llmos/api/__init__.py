"""Where the machines are joined: load a model, compile a model. Names are loaded when they are used."""

from importlib import import_module
from typing import Any

_WHERE = {
    "Generation": "llmos.api.generation",
    "Model": "llmos.api.model",
    "ModelNotice": "llmos.api.model",
    "compile_model": "llmos.api.compile",
    "load_model": "llmos.api.model",
}
__all__ = ["Generation", "Model", "ModelNotice", "compile_model", "load_model"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
