"""Adapters from their names to a model's parameters: which base they want, and what they make of it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmos.api.file_states import FileStates, file_states
from llmos.core.errors import LlmosError, UserError
from llmos.hub import Resolved, existing, is_path, resolve
from llmos.models import FAMILIES, Spec, shapes, sources, spec_from_config
from llmos.text import tokenizer_files
from llmos.weights import Checkpoint, Parameters, Stacks, holds_weights
from llmos.weights.peft import (
    AdaptedParameters,
    Adapter,
    Overlay,
    is_adapter,
    open_adapter,
    read_adapter_config,
    unties,
)
from llmos.weights.quantization import QuantizedCheckpoint

Adapters = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None
Report = Callable[[str, int, int], None] | None

__all__ = [
    "Adapted",
    "Adapters",
    "NamedAdapter",
    "adapt",
    "adapt_stored",
    "adapter_list",
    "base_of",
    "named_adapters",
    "text_folder",
]


@dataclass(frozen=True)
class NamedAdapter:
    """An adapter with the name that it was asked for by. states: of its files, before they were opened."""

    name: str
    adapter: Adapter
    states: FileStates


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """What adapters make of a base model. config: the base's, but for a head that is no longer its embedding."""

    config: dict[str, Any]
    spec: Spec
    parameters: Parameters | AdaptedParameters


def adapter_list(adapter: Adapters) -> list[str]:
    """The names in what a caller gave: none, one, or several."""
    given = [] if adapter is None else [adapter] if isinstance(adapter, (str, os.PathLike)) else list(adapter)
    for each in given:
        if not isinstance(each, (str, os.PathLike)):
            raise UserError(f"an adapter is named by text or a path, not by {each!r}")
    return [os.fspath(each) for each in given]


def base_of(resolved: Resolved, adapters: Sequence[str], report: Report = None) -> Resolved | None:
    """The base model of a folder that holds an adapter and no model; None for a model.

    Raises UserError where the base cannot be found, or where a folder holds both and nothing says which is meant.
    """
    folder = resolved.path
    if resolved.kind != "folder" or not is_adapter(folder):
        return None
    if holds_weights(folder):
        if adapters:
            return None
        raise UserError(
            f"{folder} holds a model and an adapter: to merge them, name it as the adapter too (adapter={str(folder)!r}); for the model "
            "alone, take adapter_config.json out"
        )
    config = read_adapter_config(folder)
    name = config.base_model_name_or_path
    if not name:
        raise UserError(
            f"{folder} is an adapter that names no base model: give the base model, and this as its adapter"
        )
    beside = existing(str(folder / name))
    wanted = name if beside is None else str(beside)
    if config.revision and beside is None and not is_path(name) and "@" not in name:
        wanted = f"{name}@{config.revision}"
    try:
        return resolve(wanted, progress=report)
    except LlmosError as error:
        raise type(error)(
            f"{folder} is an adapter of the base model {name!r}, which cannot be had ({error}): give the base model by its place "
            "here, and this as its adapter"
        ) from error


def named_adapters(names: Sequence[str], report: Report = None) -> list[NamedAdapter]:
    """The adapters of names: folders, or `organisation/name` on the Hub."""
    found = []
    for name in names:
        resolved = resolve(name, progress=report)
        if resolved.kind != "folder":
            raise UserError(f"{name} is no adapter: an adapter is a folder with adapter_config.json")
        states = file_states(resolved.path)
        found.append(NamedAdapter(name, open_adapter(resolved.path), states))
    return found


def adapt(config: dict[str, Any], spec: Spec, checkpoint: Checkpoint, adapters: Sequence[NamedAdapter]) -> Adapted:
    """A checkpoint's parameters with adapters merged in. Raises UserError for adapters of another model."""
    family = FAMILIES[spec.family]
    spare = checkpoint.spare if isinstance(checkpoint, QuantizedCheckpoint) else ()
    prefixes = family.PREFIXES
    for each in adapters:
        twin = None
        embed, head = (family.WEIGHTS[name].name for name in ("embed", "head"))
        if spec.tied and unties(each.adapter, embed, head, prefixes):
            config = config | {"tie_word_embeddings": False}
            spec, twin = _untied(config, each), (head, embed)
        if twin or each.adapter.replaced:
            checkpoint = Overlay(checkpoint, each.adapter, prefixes, twin)
    places = sources(spec)
    base = Parameters(
        checkpoint, places, shapes(spec), prefixes=prefixes, unused=family.UNUSED, spare=spare, tied=spec.tied
    )
    if not adapters:
        return Adapted(config=config, spec=spec, parameters=base)
    merged = AdaptedParameters(base, [each.adapter for each in adapters], places, prefixes)
    return Adapted(config=config, spec=spec, parameters=merged)


def adapt_stored(spec: Spec, base: Parameters, adapters: Sequence[NamedAdapter]) -> Parameters | AdaptedParameters:
    """Parameters of a file with names and layout of its own, as GGUF, with adapters merged in.

    Raises UserError for adapters of another model, and for those that replace tensors of the base.
    """
    if not adapters:
        return base
    for each in adapters:
        if each.adapter.replaced:
            raise UserError(
                f"{each.name} replaces whole tensors ({min(each.adapter.replaced)}, ...), which is done in models in the Hugging Face "
                f"layout only: give the base model as such, not {base.checkpoint.path}"
            )
        if spec.tied and unties(each.adapter, *_tables(spec), FAMILIES[spec.family].PREFIXES):
            raise UserError(
                f"{each.name} changes embedding or head, which are one table in {base.checkpoint.path}: give the base model in the Hugging "
                "Face layout"
            )
    places, prefixes = sources(spec), FAMILIES[spec.family].PREFIXES
    return AdaptedParameters(base, [e.adapter for e in adapters], places, prefixes, Stacks(places, shapes(spec)))


def _tables(spec: Spec) -> tuple[str, str]:
    """Names of embedding and head in the family's checkpoints; of a head that has none there, that of most."""
    places = sources(spec)
    return places["embed"].name, places["head"].name if "head" in places else "lm_head.weight"


def text_folder(base: Path, adapters: Sequence[NamedAdapter]) -> Path:
    """Where tokenizer and chat template are read: of the last adapter that brings its own, which it was trained with, else the base."""
    own = [each.adapter.path for each in adapters if tokenizer_files(each.adapter.path)]
    return own[-1] if own else base


def _untied(config: dict[str, Any], each: NamedAdapter) -> Spec:
    spec = spec_from_config(config)
    if spec.tied:
        raise UserError(
            f"{each.name} changes embedding or head, which are one table in every model of the family {spec.family}: merge it with peft"
        )
    return spec
