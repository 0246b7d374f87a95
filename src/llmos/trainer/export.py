"""The finished model as a Hugging Face folder: what transformers, `llmos run` and everyone else load."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from llmos.core.files import atomic_directory
from llmos.models import Spec, sources
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
    """The parameters under their family's names, stacked and transposed as the family stores them."""
    out: dict[str, Tensor] = {}
    for name, source in sources(spec).items():
        if source.name in out:
            continue
        parts = [_sibling(name, part) for part in source.among] or [name]
        value = torch.cat([w[part].detach() for part in parts])
        out[source.name] = (value.T if source.transpose else value).to(dtype).contiguous()
    return out


def _sibling(name: str, part: str) -> str:
    """The full name of the parameter `part` that is stacked with `name`: same layer, same kind (weight or bias)."""
    layer = "".join(f"{piece}." for piece in name.split(".")[:2]) if name.startswith("layer.") else ""
    return layer + part + (".bias" if name.endswith(".bias") else "")
