"""The finished model as a Hugging Face folder: what transformers, `llmos run` and everyone else load."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from llmos.core.files import atomic_directory
from llmos.models import Source, Spec, sources
from llmos.trainer.recipe import Recipe
from llmos.trainer.tokenizer import open_tokenizer

__all__ = ["export_model"]


def export_model(
    recipe: Recipe, spec: Spec, w: dict[str, Tensor], tokenizer: Path, dtype: torch.dtype = torch.bfloat16
) -> Path:
    """Writes `folder/model`, replacing an older one as a whole, and returns its path."""
    folder = recipe.folder / "model"
    stop = [open_tokenizer(tokenizer).token_to_id(token) for token in recipe.tokenizer.stop]
    config = recipe.config | {
        "dtype": str(dtype).removeprefix("torch."),
        "bos_token_id": stop[0],
        "eos_token_id": stop[0],
    }
    generation = {"bos_token_id": stop[0], "eos_token_id": stop, "do_sample": True} | asdict(recipe.generation)
    with atomic_directory(folder) as temporary:
        save_file(checkpoint_tensors(spec, w, dtype), temporary / "model.safetensors", metadata={"format": "pt"})
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        weights = temporary / "model.safetensors"  # written for its owner alone; as readable as the rest now
        weights.chmod((temporary / "config.json").stat().st_mode)
        (temporary / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if (tokenizer / name).exists():
                shutil.copy(tokenizer / name, temporary / name)
    return folder


def checkpoint_tensors(spec: Spec, w: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The parameters under their family's names, stacked, transposed and shifted as the family stores them.

    The inverse of `weights.Parameters`, but for the prefix, which its readers do without. Rows that the model never uses
    are zeros.
    """
    out: dict[str, Tensor] = {}
    for name, source in sources(spec).items():
        if source.name in out:
            continue
        parts = [w[_sibling(name, part)].detach() for part in source.among] or [w[name].detach()]
        value = _stacked(parts, source.groups) - source.plus
        if source.skip:
            value = torch.cat([value.new_zeros(source.skip, *value.shape[1:]), value])
        stored = (value.T if source.transpose else value).to(dtype).contiguous()
        out |= {source.name.replace("{r}", str(row)): stored[row].clone() for row in _rows(source, stored)} or {
            source.name: stored
        }
    return out


def _stacked(parts: list[Tensor], groups: int) -> Tensor:
    """Parameters one after another, or so for each of the groups of their rows."""
    split = [part.reshape(groups, -1, *part.shape[1:]) for part in parts]
    return torch.cat(split, 1).flatten(0, 1)


def _rows(source: Source, stored: Tensor) -> range:
    """The rows that are tensors of their own."""
    return range(len(stored) if "{r}" in source.name else 0)


def _sibling(name: str, part: str) -> str:
    """The full name of the parameter `part` that is stacked with `name`: same layer, same kind (weight or bias)."""
    layer = "".join(f"{piece}." for piece in name.split(".")[:2]) if name.startswith("layer.") else ""
    return layer + part + (".bias" if name.endswith(".bias") else "")
