"""Downloads from a Hub through `huggingface_hub`: only the files that are read, never pickles."""

import sys
from collections.abc import Callable
from pathlib import Path

from llmos.core.env import environment
from llmos.core.errors import ResourceError, UserError

__all__ = ["download"]

_WANTED = ["config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.json"] + [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "LICENSE*",
]


def download(hub_id: str, *, use_network: bool, progress: Callable[[str, int, int], None] | None = None) -> Path:
    """The local folder of `organisation/name[@revision]`, downloaded or brought up to date. Interrupted downloads go on.

    Raises UserError where the repository does not exist, is closed to you or holds no safetensors, ResourceError where the
    Hub cannot be reached.
    """
    import huggingface_hub
    from huggingface_hub import errors

    name, _, revision = hub_id.partition("@")
    options = {"revision": revision or None, "endpoint": environment().hub_endpoint}
    try:
        if use_network:
            files = huggingface_hub.HfApi(endpoint=options["endpoint"]).list_repo_files(
                name, revision=options["revision"]
            )
            _require_safetensors(name, files)
        path = huggingface_hub.snapshot_download(
            name, allow_patterns=_WANTED, local_files_only=not use_network, tqdm_class=_bar(progress), **options
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
        if use_network:
            raise ResourceError(f"the Hub cannot be reached and {name} is not on this machine: {error}") from error
        raise UserError(f"{name} is not on this machine and the network is not to be used (offline)") from error
    except (errors.HfHubHTTPError, OSError, *_transport_errors()) as error:
        raise ResourceError(f"{name} cannot be downloaded: {error}; what has arrived is kept, try again") from error
    return Path(path)


def _transport_errors() -> tuple[type[Exception], ...]:
    """What a refused or broken connection raises, in whichever HTTP library huggingface_hub has loaded."""
    loaded = (sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules)
    return tuple(library.TransportError for library in loaded)


def _require_safetensors(name: str, files: list[str]) -> None:
    if not any(file.endswith(".safetensors") for file in files):
        pickles = [file for file in files if file.endswith((".bin", ".pt", ".pth"))]
        found = f"only pickles ({', '.join(pickles[:3])}), which LLMOS never opens" if pickles else "no weights"
        raise UserError(f"{name} holds {found}: look for a conversion to safetensors")


def _bar(progress: Callable[[str, int, int], None] | None):
    """A progress class for huggingface_hub that reports to `progress` in place of drawing."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Reporting(tqdm):
        def __init__(self, *args, **kwargs):
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": progress is None})

        def display(self, *args, **kwargs):
            if progress is not None:
                progress(str(self.desc or ""), int(self.n), int(self.total or 0))

    return Reporting
