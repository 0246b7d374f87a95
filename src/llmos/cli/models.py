"""`llmos models`: the names that can be used, and where each leads."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from llmos.cli.terminal import table, write_json
from llmos.core.units import format_bytes
from llmos.models import CATALOGUE, Entry

__all__ = ["command", "downloads"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """kind: embedded, catalogue or downloaded. path, size_bytes: where the files are on this machine; notice: what is told
    to those who load it, when the model is not what its name says."""

    name: str
    kind: str
    about: str
    hub_id: str | None = None
    path: str | None = None
    size_bytes: int | None = None
    notice: str | None = None


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
def command(as_json: bool) -> None:
    """List the models that can be named: embedded, in the catalogue, and downloaded.

    Any folder with a Hugging Face checkpoint, any .gguf or .llm file and any Hub name like openai-community/gpt2 can be used
    too.
    """
    found = downloads()
    named = {entry.hub_id for entry in CATALOGUE.values()}
    rows = [_entry(entry, found) for entry in CATALOGUE.values()]
    rows += [_download(name, repo) for name, repo in sorted(found.items()) if name not in named]
    if as_json:
        write_json([asdict(row) for row in rows])
        return
    table([(row.name, row.kind, _size(row), row.about) for row in rows], ("NAME", "KIND", "SIZE", "ABOUT"))


def _size(row: Row) -> str:
    """Nothing for a name that stands for another model: the size would be the other's."""
    return format_bytes(row.size_bytes) if row.size_bytes and not row.notice else "-"


def _entry(entry: Entry, found: Mapping[str, Any]) -> Row:
    """A catalogue name, with the place of its files where they are on this machine."""
    about = f"{entry.about}: {entry.hub_id}" if entry.hub_id else entry.about
    path: str | None = None
    size: int | None = None
    if entry.hub_id is None:
        folder = _embedded_folder(entry.embedded or entry.name)
        path, size = str(folder), _folder_size(folder)
    elif repo := found.get(entry.hub_id):
        path, size = str(repo.repo_path), repo.size_on_disk
    return Row(
        name=entry.name,
        kind="embedded" if entry.name == entry.embedded else "catalogue",
        about=about,
        hub_id=entry.hub_id,
        path=path,
        size_bytes=size,
        notice=entry.notice,
    )


def _download(name: str, repo: Any) -> Row:
    path = str(repo.repo_path)
    return Row(name=name, kind="downloaded", about=path, hub_id=name, path=path, size_bytes=repo.size_on_disk)


def _embedded_folder(name: str) -> Path:
    import llmos

    return Path(llmos.__file__).parent / "embedded" / name


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def downloads() -> dict[str, Any]:
    """Models in the Hub's cache on this machine, by name."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return {}
    return {repo.repo_id: repo for repo in repos if repo.repo_type == "model"}
