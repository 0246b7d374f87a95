"""Where the machines are joined: load a model, compile a model. Names are loaded when they are used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmos.api.compile import compile_model
    from llmos.api.describe import describe_model
    from llmos.api.generation import Generation
    from llmos.api.model import Model, ModelNotice, load_model
    from llmos.api.plan import Plan, plan_model
    from llmos.api.roofs import Roofs, measure_roofs

_WHERE = {
    "Generation": "llmos.api.generation",
    "Model": "llmos.api.model",
    "ModelNotice": "llmos.api.model",
    "Plan": "llmos.api.plan",
    "Roofs": "llmos.api.roofs",
    "compile_model": "llmos.api.compile",
    "describe_model": "llmos.api.describe",
    "load_model": "llmos.api.model",
    "measure_roofs": "llmos.api.roofs",
    "plan_model": "llmos.api.plan",
}
__all__ = [
    "Generation",
    "Model",
    "ModelNotice",
    "Plan",
    "Roofs",
    "compile_model",
    "describe_model",
    "load_model",
    "measure_roofs",
    "plan_model",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
