"""Models as data: spec, the one forward pass, shapes, families, the catalogue of names. No numpy, no torch."""

from llmos.models.catalogue import CATALOGUE, DEFAULT_MODEL, Entry, lookup
from llmos.models.forward import encode, forward, memories, remember
from llmos.models.gguf import Gguf
from llmos.models.gguf_config import config_from_gguf, gguf_sources, gguf_unused
from llmos.models.gguf_rope import FACTOR_TENSORS
from llmos.models.registry import FAMILIES, sources, spec_from_config
from llmos.models.relative import bucket, buckets
from llmos.models.rope import inverse_frequencies
from llmos.models.shapes import layer_shapes, parameter_count, shapes, share_of_tokens
from llmos.models.source import Source
from llmos.models.spec import (
    Attention,
    Encoder,
    Experts,
    HeadNorm,
    Layer,
    Llama3Scaling,
    LongFactors,
    Mlp,
    Norm,
    RelativeBias,
    Rope,
    Spec,
    Yarn,
)
from llmos.models.trainable import check_trainable

__all__ = [
    "CATALOGUE",
    "DEFAULT_MODEL",
    "FACTOR_TENSORS",
    "FAMILIES",
    "Attention",
    "Encoder",
    "Entry",
    "Experts",
    "Gguf",
    "HeadNorm",
    "Layer",
    "Llama3Scaling",
    "LongFactors",
    "Mlp",
    "Norm",
    "RelativeBias",
    "Rope",
    "Source",
    "Spec",
    "Yarn",
    "bucket",
    "buckets",
    "check_trainable",
    "config_from_gguf",
    "encode",
    "forward",
    "gguf_sources",
    "gguf_unused",
    "inverse_frequencies",
    "layer_shapes",
    "lookup",
    "memories",
    "parameter_count",
    "remember",
    "shapes",
    "share_of_tokens",
    "sources",
    "spec_from_config",
]
