"""Models as data: spec, the one forward pass, shapes, families, the catalogue of names. No numpy, no torch."""

from llmos.models.catalogue import CATALOGUE, DEFAULT_MODEL, Entry, lookup
from llmos.models.forward import forward
from llmos.models.registry import FAMILIES, sources, spec_from_config
from llmos.models.rope import inverse_frequencies
from llmos.models.shapes import parameter_count, shapes
from llmos.models.source import Source
from llmos.models.spec import Attention, Layer, Llama3Scaling, Mlp, Norm, Rope, Spec

__all__ = [
    "CATALOGUE",
    "DEFAULT_MODEL",
    "FAMILIES",
    "Attention",
    "Entry",
    "Layer",
    "Llama3Scaling",
    "Mlp",
    "Norm",
    "Rope",
    "Source",
    "Spec",
    "forward",
    "inverse_frequencies",
    "lookup",
    "parameter_count",
    "shapes",
    "sources",
    "spec_from_config",
]
