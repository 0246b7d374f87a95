"""Parameters and the loss. There is no module class: parameters are a dict, and the forward pass is `models.forward`.

B sequences, T tokens of each, V vocabulary.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from llmos.models import Spec, forward, shapes
from llmos.ops.torch_ops import TorchOps

__all__ = ["initial_parameters", "is_norm", "logits", "mean_loss"]

Parameters = dict[str, Tensor]


def initial_parameters(spec: Spec, seed: int) -> Parameters:
    """float32 parameters with gradients: norms 1, biases 0, matrices normal.

    Standard deviation 0.02 for tables and 1/sqrt(inputs) for matrices; those that write to the residual stream are
    divided by sqrt(2 * layers), which keeps its size independent of depth (GPT-2).
    """
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for name, shape in shapes(spec).items():
        if len(shape) == 1 or is_norm(name):
            value = torch.zeros(shape) if name.endswith(".bias") else torch.ones(shape)
        else:
            value = torch.randn(shape, generator=generator) * _deviation(name, shape, len(spec.layers))
        out[name] = value.requires_grad_()
    return out


def is_norm(name: str) -> bool:
    """Whether a parameter scales what was normalised; those of queries and keys may have a row for each head."""
    return name.rpartition(".")[2] in ("norm", "norm1", "norm2", "post1", "post2", "embed_norm", "q_norm", "k_norm")


def logits(spec: Spec, w: Parameters, tokens_BT: Tensor) -> Tensor:
    """Scores (B, T, V) of the token after each token."""
    positions_T = torch.arange(tokens_BT.shape[-1], device=tokens_BT.device)
    return forward(TorchOps(tokens_BT.shape[-1]), spec, w, tokens_BT, positions_T)


def mean_loss(spec: Spec, w: Parameters, window_BT1: Tensor) -> Tensor:
    """Mean negative log-likelihood, in nats per token, of a batch of windows (B, T + 1)."""
    scores_BTV = logits(spec, w, window_BT1[:, :-1])
    return F.cross_entropy(scores_BTV.flatten(0, 1).float(), window_BT1[:, 1:].flatten())


def _deviation(name: str, shape: tuple[int, ...], layers: int) -> float:
    if name in ("embed", "position", "head"):
        return 0.02
    deviation = 1 / math.sqrt(shape[1])
    return deviation / math.sqrt(2 * layers) if name.endswith((".o", ".down")) else deviation
