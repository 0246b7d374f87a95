"""Downloads from a Hub through `huggingface_hub`: only the files that are read, never pickles."""

import io
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from llmos.core.env import environment
from llmos.core.errors import ResourceError, UserError

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


def download(
    hub_id: str, *, use_network: bool, progress: Callable[[str, int, int], None] | None = None
) -> tuple[Path, str | None]:
    """The local folder of `organisation/name[@revision]`, downloaded or brought up to date. Interrupted downloads go on.

    Where the Hub does not answer, what was downloaded before is taken, and the second value says so. Raises UserError where the
    repository does not exist, is closed to you or holds no safetensors, ResourceError where the Hub does not answer and nothing
    is here.
    """
    import huggingface_hub
    from huggingface_hub import errors

    name, _, revision = hub_id.partition("@")
    options = {"revision": revision or None, "endpoint": environment().hub_endpoint}
    try:
        if use_network:
            hub = huggingface_hub.HfApi(endpoint=options["endpoint"])
            try:  # asked once and first: the downloads below try again and again
                found = hub.model_info(name, revision=options["revision"], timeout=_ANSWER_WITHIN_S)
            except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, *_transport_errors()) as error:
                if not _is_silence(error):
                    raise
                return _kept(name, options, error)
            _require_safetensors(name, [file.rfilename for file in found.siblings or []])
        path = huggingface_hub.snapshot_download(
            name,
            allow_patterns=_WANTED,
            ignore_patterns=_UNWANTED,
            local_files_only=not use_network,
            tqdm_class=_bar(progress),
            **options,
        )
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
        raise UserError(f"{name} is not on this machine and the network is not to be used (offline)") from error
    except (errors.HfHubHTTPError, OSError, *_transport_errors()) as error:
        raise ResourceError(f"{name} cannot be downloaded: {error}; what has arrived is kept, try again") from error
    return Path(path), None


def _kept(name: str, options: dict[str, str | None], error: Exception) -> tuple[Path, str]:
    """What an earlier download left. Raises ResourceError where there is nothing."""
    import huggingface_hub
    from huggingface_hub import errors

    reason = str(error).partition("\n")[0]
    try:
        path = huggingface_hub.snapshot_download(name, allow_patterns=_WANTED, local_files_only=True, **options)
    except errors.LocalEntryNotFoundError:
        raise ResourceError(
            f"{name} is not on this machine and the Hub cannot be reached ({reason}): connect to the network, or name a local "
            "folder or `.llm` file"
        ) from error
    return Path(path), f"the Hub cannot be reached ({reason}): {name} is taken as it was downloaded before"


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
