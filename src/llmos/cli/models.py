"""`llmos models`: the names that can be used, and where each leads."""

from dataclasses import asdict, dataclass
from pathlib import Path

import click

from llmos.cli.terminal import table, write_json
from llmos.core.units import format_bytes
from llmos.models import CATALOGUE

__all__ = ["command"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """kind: embedded, catalogue or downloaded; size in bytes where the files are on this machine."""

    name: str
    kind: str
    about: str
    size: int | None = None


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
def command(as_json: bool) -> None:
    """List the models that can be named: embedded, in the catalogue, and downloaded.

    Any folder with a Hugging Face checkpoint, any .llm file and any Hub name like openai-community/gpt2 can be used too.
    """
    rows = [*_catalogue(), *_downloaded()]
    if as_json:
        write_json([asdict(row) for row in rows])
        return
    cells = [(row.name, row.kind, format_bytes(row.size) if row.size else "-", row.about) for row in rows]
    table(cells, ("NAME", "KIND", "SIZE", "ABOUT"))


def _catalogue() -> list[Row]:
    rows = []
    for entry in CATALOGUE.values():
        embedded = entry.name == entry.embedded
        about = f"{entry.about}: {entry.hub_id}" if entry.hub_id else entry.about
        size = _folder_size(_embedded_folder(entry.name)) if embedded else None
        rows.append(Row(name=entry.name, kind="embedded" if embedded else "catalogue", about=about, size=size))
    return rows


def _embedded_folder(name: str) -> Path:
    import llmos

    return Path(llmos.__file__).parent / "embedded" / name


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _downloaded() -> list[Row]:
    """Models in the Hub's cache on this machine."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return []
    found = [
        Row(name=repo.repo_id, kind="downloaded", about=str(repo.repo_path), size=repo.size_on_disk) for repo in repos
    ]
    return sorted(found, key=lambda row: row.name)
