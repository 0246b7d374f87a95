"""LLMOS from Python: load a model, generate text, plan, compile, train. The names are those of `llmos`, loaded when first used.

One differs: `llmos.plan` is the package of formulas, so what is `plan` here is `plan_model` there.
"""

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
        Plan,
        ResourceError,
        UserError,
        VerificationError,
        compile,  # noqa: A004
        load_model,
        train,
    )
    from llmos import (
        plan_model as plan,
    )

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
    "plan",
    "train",
]

_THERE = {"plan": "plan_model"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(llmos, _THERE.get(name, name))
    return value


def __dir__() -> list[str]:
    return __all__
