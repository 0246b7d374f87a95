"""Which models the trainer trains; a plan of training asks here too."""

from llmos.core.errors import UserError
from llmos.models.registry import FAMILIES
from llmos.models.spec import Spec

__all__ = ["check_trainable"]


def check_trainable(spec: Spec) -> None:
    """Raise UserError, with the reason, for a model that cannot be trained."""
    if "" not in FAMILIES[spec.family].PREFIXES:
        raise UserError(f"{spec.family} is only a part of its checkpoints: train a text model")
    if spec.encoder is not None or not spec.head:
        raise UserError(f"{spec.family} cannot be trained: only decoders, which predict the next token, can")
