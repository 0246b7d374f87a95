"""Which of a repository's GGUF files a name means: `owner/name` where there is one model, `owner/name:TAG` where there are several.

Tags are what the files' names end with, as of llama.cpp's `-hf` and Ollama's `hf.co/owner/name:TAG`; unlike there, none is taken
that was not asked for.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from llmos.core.errors import UserError
from llmos.core.units import format_bytes
from llmos.weights import gguf_parts

__all__ = ["GgufModel", "choose_gguf", "gguf_models"]

_TAG = re.compile(
    r"(?:^|(?<=[-._]))(?:UD-)?(?:[IT]?Q\d+(?:_[A-Z0-9]+)*|MXFP\d(?:_[A-Z0-9]+)*|BF16|FP?16|FP?32)(?=$|[-.])", re.I
)
_MOST_LISTED = 40


@dataclass(frozen=True, kw_only=True)
class GgufModel:
    """tag: what tells it from the others, in the writing of its name; files: it, or its parts in order; n_bytes: of all, None
    where it is not known.
    """

    tag: str
    files: tuple[str, ...]
    n_bytes: int | None

    @property
    def stem(self) -> str:
        return _stem(self.files[0])


def gguf_models(files: Mapping[str, int | None]) -> list[GgufModel]:
    """The models among a repository's files (name -> bytes) that are there with all parts, by their tags.

    Projectors of pictures (mmproj) and importance matrices are none.
    """
    sets = {tuple(str(part) for part in gguf_parts(Path(name))) for name in files if name.lower().endswith(".gguf")}
    whole = [parts for parts in sorted(sets) if all(part in files for part in parts) and _is_model(_stem(parts[0]))]
    found = [GgufModel(tag=_tag(parts[0]), files=parts, n_bytes=_sum(files, parts)) for parts in whole]
    tags = Counter(model.tag.lower() for model in found)
    return [model if tags[model.tag.lower()] == 1 else replace(model, tag=model.stem) for model in found]


def choose_gguf(name: str, models: list[GgufModel], tag: str | None) -> GgufModel:
    """The model of a tag, or the only one there is. Raises UserError with all tags and their sizes where that is not one."""
    fitting = models if tag is None else _fitting(models, tag)
    if len(fitting) == 1:
        return fitting[0]
    if not models:
        raise UserError(f"{name} holds no GGUF model, so {name}:{tag} is none: leave out the tag")
    listed = ", ".join(f"{model.tag} ({_size(model)})" for model in models[:_MOST_LISTED])
    more = f" and {len(models) - _MOST_LISTED} more" if len(models) > _MOST_LISTED else ""
    if tag is None:
        raise UserError(f"{name} holds {len(models)} GGUF models; name one, as {name}:{models[0].tag}: {listed}{more}")
    what = f"{len(fitting)} GGUF models" if fitting else "no GGUF model"
    raise UserError(f"{name} holds {what} of the tag {tag!r}; there are {listed}{more}")


def _fitting(models: list[GgufModel], tag: str) -> list[GgufModel]:
    """Those of this very tag, else those whose file has this name, else those whose name holds it between points or dashes."""
    wanted = tag.lower().removesuffix(".gguf")
    held = re.compile(rf"(^|[-.]){re.escape(wanted)}($|[-.])")
    for found in (
        [model for model in models if model.tag.lower() == wanted],
        [model for model in models if model.stem.lower() == wanted],
        [model for model in models if held.search(model.stem.lower())],
    ):
        if found:
            return found
    return []


def _stem(file: str) -> str:
    """A file's name without folder, number of the part and suffix."""
    return re.sub(r"-\d{5}-of-\d{5}$", "", PurePosixPath(file).stem)


def _tag(file: str) -> str:
    found = _TAG.findall(_stem(file))
    return found[-1] if found else _stem(file)


def _is_model(stem: str) -> bool:
    lower = stem.lower()
    return "mmproj" not in lower and not ("imatrix" in lower and not _TAG.search(stem))


def _sum(files: Mapping[str, int | None], parts: tuple[str, ...]) -> int | None:
    sizes = [size for part in parts if (size := files[part]) is not None]
    return sum(sizes) if len(sizes) == len(parts) else None


def _size(model: GgufModel) -> str:
    return "of unknown size" if model.n_bytes is None else format_bytes(model.n_bytes)
