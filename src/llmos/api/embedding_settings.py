"""How a model's hidden rows become an embedding, as the files of sentence-transformers beside its weights say it.

modules.json lists what follows the transformer: pooling, perhaps a normalisation; each has a folder with a config.json. Two
more files hold the longest text and the prompts. Older and newer names of fields are read.
What cannot be done (other ways of pooling, dense layers) is kept by name, and asking for an embedding is then refused.
"""

import json
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from llmos.core.errors import FormatError, UserError
from llmos.core.files import read_file

__all__ = ["POOLINGS", "EmbeddingSettings", "embedding_files", "read_embedding_settings"]

POOLINGS = ("mean", "cls", "last")
_MODULES, _PROMPTS = "modules.json", "config_sentence_transformers.json"
_LENGTHS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_MODES = {"cls": "cls", "mean": "mean", "lasttoken": "last"}  # as sentence-transformers calls them
_OLDER = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings:
    """pooling, normalize: None where nothing is stated. max_tokens: of a text with its marks, None for the whole context.

    prompts: texts to put before a text, by name; default_prompt: the name of the one that is put there unasked. skip_prompt:
    its tokens do not count in pooling. refused: what is asked for and cannot be done, in words.
    """

    pooling: str | None = None
    normalize: bool | None = None
    max_tokens: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    skip_prompt: bool = False
    lower_case: bool = False
    refused: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the form stored in a bundle."""
        return asdict(self) | {"prompts": dict(self.prompts), "refused": list(self.refused)}

    @classmethod
    def from_dict(cls, raw: object, where: str | Path) -> "EmbeddingSettings":
        """What `to_dict` gave. Raises FormatError naming the field for anything else."""
        if not isinstance(raw, dict):
            raise FormatError(where, f"must be an object, not {reprlib.repr(raw)}")
        known = {entry.name for entry in fields(cls)}
        if raw.keys() - known:
            raise FormatError(where, f"has unknown fields: {', '.join(sorted(raw.keys() - known))}")
        for name, value in raw.items():
            fits, wanted = _FIELDS[name]
            if not fits(value):
                raise FormatError(where, f"field {name} must be {wanted}, not {reprlib.repr(value)}")
        default = raw.get("default_prompt")
        if default is not None and default not in raw.get("prompts", {}):
            raise FormatError(where, f"the default prompt {default!r} is none of its prompts")
        return cls(**raw | {"refused": tuple(raw.get("refused", ()))})


def _are_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in (*value, *value.values()))


_FLAG = (lambda value: isinstance(value, bool), "true or false")
_FIELDS: dict[str, tuple[Any, str]] = {
    "pooling": (lambda value: value is None or value in POOLINGS, f"one of {', '.join(POOLINGS)}, or null"),
    "normalize": (lambda value: value is None or isinstance(value, bool), "true, false or null"),
    "max_tokens": (
        lambda value: value is None or (type(value) is int and value >= 1),
        "a whole number from 1 on, or null",
    ),
    "prompts": (_are_texts, "an object of texts"),
    "default_prompt": (lambda value: value is None or isinstance(value, str), "text or null"),
    "skip_prompt": _FLAG,
    "lower_case": _FLAG,
    "refused": (
        lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
        "a list of texts",
    ),
}


def embedding_files(folder: Path) -> list[Path]:
    """The files of a folder that `read_embedding_settings` reads."""
    beside = [folder / name for name in (_MODULES, _PROMPTS, *_LENGTHS)]
    return (
        [path for path in (*beside, *sorted(folder.glob("*/config.json"))) if path.is_file()]
        if beside[0].exists()
        else []
    )


def read_embedding_settings(folder: Path) -> EmbeddingSettings | None:
    """What a folder says, None where it says nothing (no modules.json). Raises FormatError for damaged files."""
    path = folder / _MODULES
    if not path.is_file():
        return None
    stated: dict[str, Any] = {"normalize": False, "refused": []}
    for module in _json(path, list):
        _module(folder, path, module, stated)
    stated |= _length(folder) | _prompts(folder)
    return EmbeddingSettings.from_dict(stated, folder)


def _module(folder: Path, path: Path, module: Any, stated: dict[str, Any]) -> None:
    """Take one entry of modules.json into the settings."""
    kind = module.get("type") if isinstance(module, dict) else None
    if not isinstance(kind, str) or not isinstance(module.get("path"), str):
        raise FormatError(path, f"must list objects with type and path, not {reprlib.repr(module)}")
    name = kind.rpartition(".")[2]
    if not kind.startswith("sentence_transformers."):
        stated["refused"].append(f"the module {kind}, whose code is in no package that LLMOS knows")
    elif name == "Pooling":
        _pooling(_json(_inside(folder, path, module["path"]) / "config.json", dict), stated)
    elif name == "Normalize":
        stated["normalize"] = True
    elif name == "Transformer" and module["path"] not in ("", "."):
        stated["refused"].append(f"a transformer in the folder {module['path']!r}: name that folder to use it alone")
    elif name != "Transformer":
        stated["refused"].append(f"a module {name} ({module['path']})")


def _pooling(config: dict[str, Any], stated: dict[str, Any]) -> None:
    asked = config.get("pooling_mode")
    modes = [asked] if isinstance(asked, str) else asked
    if modes is None:
        modes = [mode for name, mode in _OLDER.items() if config.get(name)] or ["mean"]
    if isinstance(modes, list) and len(modes) == 1 and modes[0] in _MODES:
        stated["pooling"] = _MODES[modes[0]]
    else:
        stated["refused"].append(f"pooling by {reprlib.repr(modes)}")
    stated["skip_prompt"] = config.get("include_prompt") is False


def _length(folder: Path) -> dict[str, Any]:
    """The longest text and whether letters are made small."""
    found = next((folder / name for name in _LENGTHS if (folder / name).is_file()), None)
    config = _json(found, dict) if found else {}
    most, beside = config.get("max_seq_length"), folder / "tokenizer_config.json"
    if most is None and beside.is_file():  # where newer releases write it; some hold an enormous number for none
        value = _json(beside, dict).get("model_max_length")
        most = value if type(value) is int and value < 1 << 31 else None
    return {"max_tokens": most, "lower_case": config.get("do_lower_case") or False}


def _prompts(folder: Path) -> dict[str, Any]:
    config = _json(folder / _PROMPTS, dict) if (folder / _PROMPTS).is_file() else {}
    prompts = config.get("prompts") or {}
    if isinstance(prompts, dict):
        prompts = {name: "" if text is None else text for name, text in prompts.items()}
    return {"prompts": prompts, "default_prompt": config.get("default_prompt_name")}


def _inside(folder: Path, path: Path, name: str) -> Path:
    """A folder that modules.json names, which must lie in the model's own."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise FormatError(path, f"names the folder {name!r}, which is not inside the model's")
    return folder / name


def _json(path: Path, kind: type) -> Any:
    try:
        raw = json.loads(read_file(path).decode())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"is not JSON: {error}") from error
    if not isinstance(raw, kind):
        raise FormatError(path, f"holds {type(raw).__name__}, not {kind.__name__}")
    return raw
