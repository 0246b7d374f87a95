"""Whether an adapter names the model that it is merged into, so that an exchange which fits in every shape is not silent.

Names are compared, never places: a base is often a folder of the machine that the adapter was trained on. How a model is
stored, which its name often ends with, says nothing of whose weights these are.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from llmos.api.adapters import NamedAdapter
from llmos.hub import Resolved

__all__ = ["other_bases"]

_STORED = frozenset(
    {"hf", "gguf", "gptq", "awq", "bnb", "4bit", "8bit", "int4", "int8", "w4a16", "w8a16", "quantized", "safetensors"}
    | {"f16", "f32", "fp16", "fp32", "bf16", "float16", "float32", "bfloat16"}
)
_SUFFIX = re.compile(r"(-\d{5}-of-\d{5})?\.(gguf|bin)$")
_REVISION = re.compile(r"[@:].*$")  # and the tag of a GGUF file
_KIND = re.compile(r"(?<![a-z0-9])i?q\d(_[a-z0-9]+)*")  # of a GGUF file's tensors: q4_k_m
_SNAPSHOT = "models--"  # how the folder of a repository begins among those downloaded: models--owner--name


def other_bases(
    resolved: Resolved, config: dict[str, Any], adapters: Iterable[NamedAdapter], titles: Iterable[str] = ()
) -> tuple[str, ...]:
    """A sentence for each adapter that names another base than this model. titles: further names of the model."""
    known = set(filter(None, map(_plain, (*_names(resolved, config), *titles))))
    return tuple(
        f"the adapter {each.name} was made for {each.adapter.config.base_model_name_or_path!r}, and is merged into "
        f"{resolved.display}: unless that is the same model under another name, what comes of it is no use"
        for each in adapters
        if known and _is_other(each, known)
    )


def _is_other(each: NamedAdapter, known: set[str]) -> bool:
    wanted = _plain(each.adapter.config.base_model_name_or_path or "")
    return bool(wanted) and wanted not in known


def _names(resolved: Resolved, config: dict[str, Any]) -> Iterator[str]:
    """What a model is called: as it was asked for, where it lies, and by its config."""
    yield str(resolved.display)  # a path, where a caller gave one
    yield from (part.split("--")[-1] for part in resolved.path.absolute().parts if part.startswith(_SNAPSHOT))
    place = resolved.path.absolute()
    yield from (str(place), str(place.parent)) if resolved.kind == "gguf" else (str(place),)
    said = config.get("_name_or_path")
    if isinstance(said, str):
        yield said


def _plain(name: str) -> str:
    """The last part of a path or of owner/name, small letters and digits alone, without how the model is stored."""
    last = PurePosixPath(name.replace("\\", "/")).name.lower()
    last = _KIND.sub(" ", _SUFFIX.sub("", _REVISION.sub("", last)))
    return "".join(word for word in re.split(r"[^a-z0-9]+", last) if word not in _STORED)
