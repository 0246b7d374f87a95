"""Adapters of the `peft` package (LoRA and DoRA), merged into a checkpoint's matrices while these are packed."""

from llmos.weights.peft.adapter import Adapter, open_adapter
from llmos.weights.peft.config import AdapterConfig, is_adapter, read_adapter_config
from llmos.weights.peft.merge import AdaptedParameters, Overlay, unties

__all__ = [
    "AdaptedParameters",
    "Adapter",
    "AdapterConfig",
    "Overlay",
    "is_adapter",
    "open_adapter",
    "read_adapter_config",
    "unties",
]
