"""Optimisers over named parameters: fused AdamW, and Muon (torch.optim) for the matrices inside layers if asked for.

Tables (embedding, positions, head), norms and biases always belong to AdamW; only matrices decay.
"""

import torch
from torch import Tensor

from llmos.trainer.module import is_norm
from llmos.trainer.recipe import Optimizer

__all__ = ["clip", "make_optimizers", "optimizer_state", "restore_optimizer", "set_rate"]

Optimizers = list[torch.optim.Optimizer]
_TABLES = ("embed", "position", "head")


def make_optimizers(w: dict[str, Tensor], wanted: Optimizer) -> Optimizers:
    """One or two optimisers that together step every parameter; `set_rate` scales their rates."""
    matrices = [p for name, p in w.items() if p.ndim == 2 and name not in _TABLES and not is_norm(name)]
    tables = [w[name] for name in _TABLES if name in w]
    vectors = [p for name, p in w.items() if p.ndim == 1 or is_norm(name)]
    groups = [{"params": tables, "weight_decay": 0.0 if wanted.name == "muon" else wanted.weight_decay}]
    groups += [{"params": vectors, "weight_decay": 0.0}]
    if wanted.name == "adamw":
        groups += [{"params": matrices, "weight_decay": wanted.weight_decay}]
    adamw = torch.optim.AdamW(groups, lr=wanted.lr, betas=(wanted.beta1, wanted.beta2), eps=1e-8, fused=True)
    optimizers: Optimizers = [adamw]
    if wanted.name == "muon":
        optimizers.append(
            torch.optim.Muon(matrices, lr=wanted.matrix_lr, momentum=wanted.momentum, weight_decay=wanted.weight_decay)
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def set_rate(optimizers: Optimizers, share: float) -> None:
    """Sets every learning rate to `share` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share


def clip(w: dict[str, Tensor], largest: float) -> float:
    """The norm of all gradients together before they are scaled down to `largest` (0: never scaled)."""
    return float(torch.nn.utils.clip_grad_norm_(w.values(), largest if largest > 0 else float("inf")))


def optimizer_state(w: dict[str, Tensor], optimizers: Optimizers) -> dict[str, Tensor]:
    """All optimiser tensors by "parameter/key". They are the live ones, not copies."""
    names = {id(p): name for name, p in w.items()}
    return {
        f"{names[id(p)]}/{key}": torch.as_tensor(value)
        for optimizer in optimizers
        for p, state in optimizer.state.items()
        for key, value in state.items()
    }


def restore_optimizer(w: dict[str, Tensor], optimizers: Optimizers, state: dict[str, Tensor]) -> None:
    """Puts back what `optimizer_state` returned."""
    owner = {id(p): o for o in optimizers for group in o.param_groups for p in group["params"]}
    for path, value in state.items():
        name, key = path.rsplit("/", 1)
        owner[id(w[name])].state[w[name]][key] = value
