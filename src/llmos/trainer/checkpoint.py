"""Checkpoints: one safetensors file per kept step and an index that names them with their hashes. No pickle.

The index is written last, so after a kill at any moment it names only whole files. The state is exact: parameters and
optimiser tensors in full precision; everything else (data order, learning rate) is a function of the step.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from llmos.core.errors import FormatError, UserError
from llmos.core.files import atomic_write, sha256_file

__all__ = ["Saved", "load_newest", "newest_step", "save_checkpoint"]


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint in memory. step: optimiser steps done."""

    step: int
    parameters: dict[str, Tensor]
    optimizer: dict[str, Tensor]


def save_checkpoint(folder: Path, saved: Saved, identity: str, keep: int) -> Path:
    """Writes the checkpoint, then the index, then removes all but the newest `keep`. Returns the file's path."""
    path = folder / f"step-{saved.step:08d}.safetensors"
    tensors = {f"parameter:{name}": t.detach().contiguous() for name, t in saved.parameters.items()}
    tensors |= {f"optimizer:{name}": t.detach().contiguous() for name, t in saved.optimizer.items()}
    with atomic_write(path) as file:
        file.write(save(tensors))
    entries = [e for e in _entries(folder, identity) if e["step"] != saved.step]
    entries = sorted(
        [*entries, {"step": saved.step, "file": path.name, "sha256": sha256_file(path)}], key=lambda e: e["step"]
    )
    with atomic_write(folder / "index.json") as file:
        file.write(json.dumps({"version": 1, "identity": identity, "checkpoints": entries[-keep:]}, indent=1).encode())
    for entry in entries[:-keep]:
        (folder / entry["file"]).unlink(missing_ok=True)
    return path


def newest_step(folder: Path, identity: str) -> int | None:
    """Steps done in the newest checkpoint, None where there is none."""
    entries = _entries(folder, identity)
    return entries[-1]["step"] if entries else None


def load_newest(folder: Path, identity: str) -> Saved | None:
    """The newest checkpoint, None where there is none.

    Raises UserError where it belongs to another recipe, FormatError where a file is damaged.
    """
    entries = _entries(folder, identity)
    if not entries:
        return None
    path = folder / entries[-1]["file"]
    if not path.exists() or sha256_file(path) != entries[-1]["sha256"]:
        raise FormatError(path, f"this checkpoint is damaged or missing; {_way_out(folder, entries)}")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise FormatError(path, f"this checkpoint cannot be read ({error}); {_way_out(folder, entries)}") from error
    return Saved(
        step=entries[-1]["step"], parameters=_under(tensors, "parameter:"), optimizer=_under(tensors, "optimizer:")
    )


def _entries(folder: Path, identity: str) -> list[dict]:
    """The index's checkpoints, oldest first."""
    path = folder / "index.json"
    if not path.exists():
        return []
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        entries, found = index["checkpoints"], index["identity"]
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(path, "not a checkpoint index: delete the folder to start anew") from error
    if found != identity:
        raise UserError(
            f"the checkpoints in {folder} belong to another recipe (its model, data, tokenizer, batch, optimizer or precision "
            "differs): give the run another folder, or delete them to start anew"
        )
    return entries


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _way_out(folder: Path, entries: list[dict]) -> str:
    if len(entries) > 1:
        return f"take its entry out of {folder / 'index.json'} to go on from step {entries[-2]['step']}"
    return f"delete {folder} to start anew"
