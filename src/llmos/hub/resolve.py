"""What a name means: a path, an embedded model, a catalogue entry, or a repository of the Hub."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from llmos.core.env import environment
from llmos.core.errors import UserError
from llmos.hub.download import download
from llmos.models import CATALOGUE, lookup
from llmos.weights import gguf_parts

__all__ = ["Resolved", "embedded_models", "existing", "is_hub_id", "is_path", "resolve"]

_PICKLES = (".pt", ".pth", ".ckpt", ".pkl")
_SUFFIXES = (".llm", ".bin", ".safetensors", ".gguf", ".json", *_PICKLES)  # of files that people take for a model
_CONFIGS = ("config.json", "adapter_config.json")  # of a folder in the Hugging Face layout
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?(:[\w.-]+)?")
# A repository as browsers and other programs show it: hf.co/owner/name:TAG, https://huggingface.co/owner/name/tree/main.
_ADDRESS = re.compile(
    r"(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/([\w.-]+/[\w.-]+(?::[\w.-]+)?)(?:/(?:tree|blob|resolve)/.*)?/?"
)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Where a model is. notice: what the user should be told, when the model is not what the name says."""

    kind: Literal["embedded", "folder", "bundle", "gguf", "llama2c"]
    path: Path
    display: str
    notice: str | None = None


def embedded_models() -> list[str]:
    """Names of the models that ship with LLMOS."""
    root = Path(str(resources.files("llmos"))) / "embedded"
    return sorted(path.name for path in root.iterdir() if (path / "config.json").exists()) if root.is_dir() else []


def existing(name: str) -> Path | None:
    """The file or folder that a name leads to, None where there is none (or the name can be none: too long, no such user)."""
    try:
        path = Path(name).expanduser()
        return path if name and path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None


def is_hub_id(name: str) -> bool:
    """Whether a name is meant as `organisation/name[@revision][:TAG]`: written so, and not like a file.

    Where a folder of the organisation's name is here, only a name with a revision or tag is meant so.
    """
    return _is_written_like_hub_id(name) and ("@" in name or ":" in name or not _begins_here(name))


def is_path(name: str) -> bool:
    """Whether a name can only be meant as a file or folder: it has a slash or the suffix of a model file, and is no Hub name."""
    written_so = "/" in name or name.startswith("~") or name.lower().endswith(_SUFFIXES)
    return written_so and not is_hub_id(name)


def resolve(
    name: str, *, offline: bool | None = None, progress: Callable[[str, int, int], None] | None = None
) -> Resolved:
    """The model of a name: an existing path first, then the catalogue, then `organisation/name` on the Hub.

    progress: called with a file name, bytes done and bytes in all. Raises UserError for a name that means nothing, with the
    nearest names there are, and for downloads that cannot be had.
    """
    path = existing(name)
    if path is not None:
        path = _gguf_in(path) or path
        return Resolved(kind=_kind(path), path=path, display=name)
    entry = lookup(name)
    if entry is not None and entry.embedded is not None:
        return Resolved(kind="embedded", path=_embedded(entry.embedded), display=entry.embedded, notice=entry.notice)
    hub_id = entry.hub_id if entry is not None else name if is_hub_id(name) else None
    if hub_id:
        use_network = not (environment().offline if offline is None else offline)
        path, notice = download(hub_id, use_network=use_network, progress=progress)
        return Resolved(kind=_kind(path), path=path, display=hub_id, notice=notice)
    raise UserError(_missing_path(name) if is_path(name) else _unknown(name))


def _is_written_like_hub_id(name: str) -> bool:
    return bool(_HUB_ID.fullmatch(name)) and (":" in name or not name.lower().endswith(_SUFFIXES))


def _begins_here(name: str) -> bool:
    """Whether the first part of a name is a folder here, so that the rest is meant to be in it."""
    first = existing(name.partition("/")[0])
    return first is not None and first.is_dir()


def _missing_path(name: str) -> str:
    """What is said of a file or folder that is not there: how far its path leads, and what is there of a similar name."""
    address = _ADDRESS.fullmatch(name)
    if address is not None:
        return f"{name} is an address: write {address[1]}"
    what = "file" if name.lower().endswith(_SUFFIXES) else "file or folder"
    parent = existing(str(Path(name).parent))
    if parent is None or not parent.is_dir():
        return f"there is no {what} {name}: there is no folder {Path(name).parent}"
    near = difflib.get_close_matches(Path(name).name, (entry.name for entry in parent.iterdir()), n=1)
    hint = f": did you mean {parent / near[0]}?" if near else ""
    before, colon, tag = name.rpartition(":")
    if colon and existing(before) is not None:
        hint = f": {before} is here, without :{tag}; tags choose among files of the Hub, of those here name one"
    if _is_written_like_hub_id(name):
        hint += f" (a folder {parent} is here, so this is a path; on the Hub it is {name}@main)"
    return f"there is no {what} {name}{hint}"


def _unknown(name: str) -> str:
    here = difflib.get_close_matches(name, _models_here(), n=1)
    near = here + difflib.get_close_matches(name.lower(), CATALOGUE, n=3 - len(here), cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known names: {', '.join(CATALOGUE)}."
    kinds = "a folder in the Hugging Face layout, a .gguf or .llm file, a llama2.c .bin file, or organisation/name[:TAG] on the Hub"
    return f"there is no model {name!r}: {hint} A model is also {kinds}"


def _models_here() -> list[str]:
    """Files and folders of the working folder that look like models."""
    try:
        entries = list(Path().iterdir())
    except OSError:  # it may be one that cannot be read: no hint then
        return []
    return [
        entry.name for entry in entries if entry.name.lower().endswith(_SUFFIXES) or (entry / "config.json").exists()
    ]


def _gguf_in(path: Path) -> Path | None:
    """The GGUF model of a folder that holds nothing but that one, in one file or in parts; projectors of pictures aside."""
    if not path.is_dir() or any((path / name).exists() for name in _CONFIGS):
        return None
    files = (file for file in path.glob("*.gguf") if not file.name.startswith("mmproj"))
    models = sorted({gguf_parts(file)[0] for file in files})
    if len(models) > 1:
        raise UserError(f"{path} holds several models: name one of {', '.join(model.name for model in models[:10])}")
    return models[0] if models else None


def _kind(path: Path) -> Literal["folder", "bundle", "gguf", "llama2c"]:
    if path.is_dir():
        return "folder"
    if path.suffix == ".llm":
        return "bundle"
    if path.suffix == ".gguf":
        return "gguf"
    if path.suffix == ".bin":
        return "llama2c"
    if path.suffix in _PICKLES:
        raise UserError(
            f"{path} is a pickle, which can run any program when it is opened; LLMOS never does. Convert it where you trust its source: "
            "load it with transformers, then save_pretrained(folder) writes safetensors"
        )
    hint = {".safetensors": f": give the folder that holds it, {path.parent}"}
    raise UserError(
        f"{path} is not a kind of model that LLMOS reads: a folder in the Hugging Face layout, .gguf, .llm, or llama2.c .bin"
        + hint.get(path.suffix, "")
    )


def _embedded(name: str) -> Path:
    path = Path(str(resources.files("llmos"))) / "embedded" / name
    if not (path / "config.json").exists():
        raise UserError(f"the embedded model {name} is missing from this installation: install llmos again")
    return path
