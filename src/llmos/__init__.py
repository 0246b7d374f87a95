"""LLMOS: an operating system for large language models. The module `llm` offers the same names.

They are loaded when they are first used, so that importing costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmos.api import Generation, Model, ModelNotice, Plan, load_model, plan_model
    from llmos.api import compile_model as compile  # noqa: A004
    from llmos.core.errors import FormatError, LlmosError, ResourceError, UserError, VerificationError
    from llmos.trainer import train_file as train

__version__ = "0.1.0"

_WHERE = {  # public name -> (module that defines it, its name there)
    "FormatError": ("llmos.core.errors", "FormatError"),
    "Generation": ("llmos.api.generation", "Generation"),
    "LlmosError": ("llmos.core.errors", "LlmosError"),
    "Model": ("llmos.api.model", "Model"),
    "ModelNotice": ("llmos.api.model", "ModelNotice"),
    "Plan": ("llmos.api.plan", "Plan"),
    "ResourceError": ("llmos.core.errors", "ResourceError"),
    "UserError": ("llmos.core.errors", "UserError"),
    "VerificationError": ("llmos.core.errors", "VerificationError"),
    "compile": ("llmos.api.compile", "compile_model"),
    "load_model": ("llmos.api.model", "load_model"),
    "plan_model": ("llmos.api.plan", "plan_model"),
    "train": ("llmos.trainer", "train_file"),
}
__all__ = [
    "FormatError",
    "Generation",
    "LlmosError",
    "Model",
    "ModelNotice",
    "Plan",
    "ResourceError",
    "UserError",
    "VerificationError",
    "__version__",
    "compile",
    "load_model",
    "plan_model",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name]
    value = globals()[name] = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return __all__
