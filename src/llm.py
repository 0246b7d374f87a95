"""LLMOS from Python: load a model, generate text, compile, train."""

from importlib import import_module
from typing import Any

from llmos import __version__

_WHERE = {  # public name -> (module that defines it, its name there)
    "Generation": ("llmos.api.generation", "Generation"),
    "Model": ("llmos.api.model", "Model"),
    "ModelNotice": ("llmos.api.model", "ModelNotice"),
    "compile": ("llmos.api.compile", "compile_model"),
    "load_model": ("llmos.api.model", "load_model"),
    "train": ("llmos.trainer", "train_file"),
}
__all__ = ["Generation", "Model", "ModelNotice", "__version__", "compile", "load_model", "train"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'llm' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    value = globals()[name] = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return __all__
