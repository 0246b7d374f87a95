"""LLMOS from Python: load a model, generate text, compile, train. The names are those of `llmos`, loaded when first used."""

from typing import TYPE_CHECKING, Any

import llmos
from llmos import __version__

if TYPE_CHECKING:
    from llmos import (
        FormatError,
        Generation,
        LlmosError,
        Model,
        ModelNotice,
        ResourceError,
        UserError,
        compile,  # noqa: A004
        load_model,
        train,
    )

__all__ = [
    "FormatError",
    "Generation",
    "LlmosError",
    "Model",
    "ModelNotice",
    "ResourceError",
    "UserError",
    "__version__",
    "compile",
    "load_model",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(llmos, name)
    return value


def __dir__() -> list[str]:
    return __all__
