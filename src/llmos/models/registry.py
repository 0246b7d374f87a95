"""Families by the `model_type` of a Hugging Face config.json, and the way from a config to a spec."""

import difflib
import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from llmos.core.errors import UserError
from llmos.models import families
from llmos.models.fields import Fields
from llmos.models.neutral_fields import NEUTRAL
from llmos.models.shapes import shapes
from llmos.models.source import Source
from llmos.models.spec import Spec

__all__ = ["FAMILIES", "fill_sources", "find_families", "sources", "spec_from_config"]


def find_families(package: ModuleType) -> dict[str, ModuleType]:
    """The families of a package: every module of it that names a MODEL_TYPE."""
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    return {module.MODEL_TYPE: module for module in modules if hasattr(module, "MODEL_TYPE")}


FAMILIES: dict[str, ModuleType] = find_families(families)


def spec_from_config(raw: Mapping[str, Any]) -> Spec:
    """The spec of a parsed config.json. Raises UserError naming a family or the fields that are not understood."""
    model_type = raw.get("model_type")
    if not isinstance(model_type, str):
        raise UserError(
            "config.json names no model family: the field model_type is missing; "
            f"LLMOS knows {', '.join(sorted(FAMILIES))}"
        )
    family = FAMILIES.get(model_type)
    if family is None:
        raise UserError(
            f"model family {model_type!r} is not supported; {_near(model_type)}LLMOS knows {', '.join(sorted(FAMILIES))}; "
            "to add one, write its file in llmos/models/families (CONTRIBUTING.md, A new family)"
        )
    fields = Fields(raw)
    spec = family.spec(fields)
    fields.refuse_unread(NEUTRAL | family.IGNORED, model_type)
    return spec


def _near(model_type: str) -> str:
    near = difflib.get_close_matches(model_type, FAMILIES, n=1, cutoff=0.75)
    return f"did you mean {near[0]!r}? " if near else ""


_NUMBERED = re.compile(r"(?:^|(?<=\.))(layer|expert|encoder)\.(\d+)\.")
_PLACES = {"layer": "{i}", "encoder": "{i}", "expert": "{e}"}


def sources(spec: Spec) -> dict[str, Source]:
    """Where each parameter of the spec lies in its family's checkpoints, with numbers filled in (no prefix)."""
    family = FAMILIES[spec.family]
    return fill_sources(family.weights(spec) if hasattr(family, "weights") else family.WEIGHTS, spec)


def fill_sources(table: Mapping[str, Source], spec: Spec) -> dict[str, Source]:
    """A family's table with an entry for each parameter of the spec."""
    return {name: _source(table, spec, name) for name in shapes(spec)}


def _source(table: Mapping[str, Source], spec: Spec, name: str) -> Source:
    numbers = dict(_NUMBERED.findall(name))
    source = table[_NUMBERED.sub(lambda found: f"{found[1]}.{_PLACES[found[1]]}.", name)]
    tensor = source.name
    for kind, number in numbers.items():
        tensor = tensor.replace(_PLACES[kind], number)
    groups = spec.layers[int(numbers["layer"])].attention.kv_heads if source.by_group else 1
    return replace(source, name=tensor, groups=groups)
