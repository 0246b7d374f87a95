"""Downloads from a Hub through `huggingface_hub`: only the files that are read, never pickles."""

import glob
import io
import re
import sys
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path

from llmos.core.env import environment
from llmos.core.errors import ResourceError, UserError
from llmos.hub.gguf_choice import GgufModel, choose_gguf, gguf_models

__all__ = ["download"]

_ANSWER_WITHIN_S = 10

_WANTED = ["config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.json"] + [
    "tokenizer_config.json",
    "special_tokens_map.json",
    *("added_tokens.json", "chat_template.jinja", "chat_template.json", "additional_chat_templates/*.jinja"),
    *("tokenizer.model", "tokenizer.model.v*", "spiece.model", "spm.model", "sentencepiece*.model"),
    *("vocab.json", "merges.txt", "vocab.txt", "*.tiktoken"),
    *("modules.json", "*/config.json", "config_sentence_transformers.json", "sentence_*_config.json"),
    "LICENSE*",
    "adapter_config.json",
    "quantize_config.json",
    "quant_config.json",
]
# The same weights once more: in Mistral's and Meta's own formats, for other programs.
_UNWANTED = ["consolidated*", "original/*", "onnx/*"]


_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?::([\w.-]+))?")


def download(
    hub_id: str, *, use_network: bool, progress: Callable[[str, int, int], None] | None = None
) -> tuple[Path, str | None]:
    """The local folder of `organisation/name[@revision][:TAG]`, downloaded or brought up to date; the (first) file of a GGUF
    model, where a tag asks for one or the repository holds nothing else. Interrupted downloads go on.

    Where the Hub does not answer, what was downloaded before is taken, and the second value says so. Raises UserError where the
    repository does not exist, is closed to you, holds no safetensors, or several GGUF models of which none is named;
    ResourceError where the Hub does not answer and nothing is here.
    """
    import huggingface_hub
    from huggingface_hub import errors

    name, revision, tag = _parts(hub_id)
    options = {"revision": revision, "endpoint": environment().hub_endpoint}
    try:
        if not use_network:
            return _kept(name, tag, options), None
        hub = huggingface_hub.HfApi(endpoint=options["endpoint"])
        try:  # asked once and first: the downloads below try again and again
            found = hub.model_info(name, revision=revision, timeout=_ANSWER_WITHIN_S, files_metadata=True)
        except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, *_transport_errors()) as error:
            if not _is_silence(error):
                raise
            return _instead(name, tag, options, error)
        files = {file.rfilename: file.size for file in found.siblings or []}
        model = _gguf(name, files, tag)
        if model is None:
            _require_safetensors(name, list(files))
        path = huggingface_hub.snapshot_download(
            name,
            allow_patterns=_WANTED if model is None else ["LICENSE*", *map(glob.escape, model.files)],
            ignore_patterns=_UNWANTED if model is None else None,
            tqdm_class=_bar(progress),
            **options,
        )
    except errors.HFValidationError as error:
        raise UserError(
            f"{name} can be no name on the Hub, and there is no folder of that name here: {error}"
        ) from error
    except errors.GatedRepoError as error:
        raise UserError(
            f"{name} asks you to accept its terms: do so on its page, then log in with `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"there is no model {name} on the Hub, nor a folder of that name here (if it is private: `hf auth login`)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{name} has no revision {revision!r}") from error
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"{name} is not on this machine and the network is not to be used (LLMOS_OFFLINE=1): unset it to download"
        ) from error
    except (errors.HfHubHTTPError, OSError, *_transport_errors()) as error:
        raise ResourceError(f"{name} cannot be downloaded: {error}; what has arrived is kept, try again") from error
    return Path(path) / (model.files[0] if model else ""), None


def _parts(hub_id: str) -> tuple[str, str | None, str | None]:
    """Name, revision and tag."""
    found = _HUB_ID.fullmatch(hub_id)
    assert found is not None, f"{hub_id} is no name of the Hub"
    return found[1], found[2], found[3]


def _gguf(name: str, files: Mapping[str, int | None], tag: str | None) -> GgufModel | None:
    """The GGUF model that is meant, None where it is a checkpoint in the Hugging Face layout."""
    models = gguf_models(files)
    if tag is None and (not models or any(file.endswith(".safetensors") for file in files)):
        return None
    return choose_gguf(name, models, tag)


def _kept(name: str, tag: str | None, options: dict[str, str | None]) -> Path:
    """What an earlier download left. Raises huggingface_hub's LocalEntryNotFoundError where that is nothing."""
    import huggingface_hub
    from huggingface_hub import errors

    folder = Path(
        huggingface_hub.snapshot_download(name, allow_patterns=_WANTED, local_files_only=True, **options)  # type: ignore[arg-type]
    )
    files: dict[str, int | None] = {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()
    }
    if tag is not None and not gguf_models(files):
        raise errors.LocalEntryNotFoundError(f"no GGUF model of {name} is here")
    model = _gguf(name, files, tag)
    return folder / (model.files[0] if model else "")


def _instead(name: str, tag: str | None, options: dict[str, str | None], error: Exception) -> tuple[Path, str]:
    """What an earlier download left, and why it is taken. Raises ResourceError where there is nothing."""
    from huggingface_hub import errors

    reason = str(error).partition("\n")[0]
    try:
        path = _kept(name, tag, options)
    except errors.LocalEntryNotFoundError:
        raise ResourceError(
            f"{name} is not on this machine and the Hub cannot be reached ({reason}): connect to the network, or name a local "
            "folder, .gguf or .llm file"
        ) from error
    return path, f"the Hub cannot be reached ({reason}): {name} is taken as it was downloaded before"


def _is_silence(error: Exception) -> bool:
    """Whether an error says nothing about the repository: no connection, or a Hub that is overloaded or out of order."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is None or status == 429 or status >= 500


def _transport_errors() -> tuple[type[Exception], ...]:
    """What a refused or broken connection raises, in whichever HTTP library huggingface_hub has loaded."""
    loaded = (sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules)
    return tuple(library.TransportError for library in loaded)


def _require_safetensors(name: str, files: list[str]) -> None:
    found = [file for file in files if file.endswith(".safetensors")]
    if found and all(any(fnmatch(file, pattern) for pattern in _UNWANTED) for file in found):
        raise UserError(
            f"{name} holds its weights as {found[0]} only, not in the layout of transformers: look for a conversion"
        )
    if not found:
        pickles = [file for file in files if file.endswith((".bin", ".pt", ".pth"))]
        what = f"only pickles ({', '.join(pickles[:3])}), which LLMOS never opens" if pickles else "no weights"
        raise UserError(f"{name} holds {what}: look for a conversion to safetensors")


def _bar(progress: Callable[[str, int, int], None] | None):
    """A progress class for huggingface_hub that reports to `progress` in place of drawing."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Reporting(tqdm):
        def __init__(self, *args, **kwargs):
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": progress is None, "file": io.StringIO()})

        def display(self, *args, **kwargs):
            if progress is not None:
                progress(str(self.desc or ""), int(self.n), int(self.total or 0))

    return Reporting
