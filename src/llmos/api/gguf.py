"""A GGUF file as a model: metadata to spec, prompt format and sampling defaults, tensors to parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmos.api.embedding_settings import EmbeddingSettings
from llmos.api.limits import check_generation, check_numbers
from llmos.core.errors import FormatError, UserError
from llmos.models import (
    FACTOR_TENSORS,
    Spec,
    config_from_gguf,
    gguf_sources,
    gguf_unused,
    shapes,
    spec_from_config,
)
from llmos.text import PromptFormat
from llmos.text.gguf import prompt_format_of_gguf
from llmos.weights import GgufFile, Parameters

__all__ = ["OpenedGguf", "open_gguf"]

_POOLINGS = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}  # llama.cpp's numbers
_SAMPLING = "general.sampling."

# Sampling defaults: the file's name -> that of generation_config.json. Others keep their names, under which they are told of.
_GENERATION = {"temp": "temperature", "penalty_repeat": "repetition_penalty"}


@dataclass(frozen=True, kw_only=True)
class OpenedGguf:
    """config: as a config.json would say it; stored: the types of its tensors, for people."""

    config: dict[str, Any]
    spec: Spec
    parameters: Parameters
    prompt_format: PromptFormat | None
    generation: dict[str, Any]
    embedding: EmbeddingSettings | None
    files: tuple[Path, ...]
    stored: str


def open_gguf(path: Path) -> OpenedGguf:
    """Raises FormatError for damaged files, UserError for models and types of tensors that are not read."""
    file = GgufFile(path)
    config = config_from_gguf(_plain(file.metadata), file.shapes(), _factors(file), str(path))
    check_numbers(config, path)
    try:
        spec = spec_from_config(config)
    except UserError as error:
        raise FormatError(path, str(error)) from error
    generation = _generation(file.metadata)
    check_generation(generation, path)
    return OpenedGguf(
        config=config,
        spec=spec,
        parameters=Parameters(file, gguf_sources(spec), shapes(spec), unused=gguf_unused(spec), tied=spec.tied),
        prompt_format=prompt_format_of_gguf(file.metadata, path),
        generation=generation,
        embedding=_embedding(file.metadata, path),
        files=tuple(file.files()),
        stored=", ".join(file.types()),
    )


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that says what is computed, lists of numbers as lists."""
    kept = {key: value for key, value in metadata.items() if not key.startswith("tokenizer.")}
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in kept.items()}


def _factors(file: GgufFile) -> dict[str, list[float]]:
    """The tensors that stretch rope."""
    there = set(file.names())
    return {name: file.tensor(name).float32().reshape(-1).tolist() for name in FACTOR_TENSORS if name in there}


def _embedding(metadata: Mapping[str, Any], path: Path) -> EmbeddingSettings | None:
    """How the file pools the rows of a text; None where it does not say."""
    key = f"{metadata.get('general.architecture')}.pooling_type"
    kind = metadata.get(key, 0)
    if type(kind) is not int or kind not in _POOLINGS:
        known = ", ".join(f"{number} ({name})" for number, name in _POOLINGS.items())
        raise FormatError(path, f"{key} is {kind!r}, which is none of {known}")
    name = _POOLINGS[kind]
    if name == "rank":
        return EmbeddingSettings(refused=("the score of a reranker (pooling_type rank)",))
    return None if name == "none" else EmbeddingSettings(pooling=name)


def _generation(metadata: Mapping[str, Any]) -> dict[str, Any]:
    stated = {key.removeprefix(_SAMPLING): value for key, value in metadata.items() if key.startswith(_SAMPLING)}
    return {_GENERATION.get(name, name): value for name, value in stated.items()}
