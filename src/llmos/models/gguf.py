"""How a family is stored in GGUF files: its name there, its metadata as fields of config.json, its tensors under our names.

A family's file says it as data (its attribute `GGUF`); what most families share is here. Source of the names:
https://github.com/ggml-org/llama.cpp, gguf-py/gguf/constants.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmos.models.source import Source
from llmos.models.spec import Spec

__all__ = ["DECODER", "FUSED_QKV", "TENSORS", "Gguf"]


@dataclass(frozen=True, kw_only=True)
class Gguf:
    """arch: what general.architecture says; when: a key that must be there (with a value other than 0), where families share
    an arch.

    fields: field of config.json -> key behind `arch.`; constants: fields that are the same in every file; present: fields that
    say whether a tensor is in the file; rows: that say how many rows a tensor has, 0 where it is not there. expects: further keys, each with the value that it must have where it is there;
    neutral: further keys that change nothing. tensors: sources that differ from `TENSORS`, or what gives them for a spec, where they
    differ among the models of a family. neighbours: rope turns neighbouring
    rows of queries and keys together, where ours turns halves. share: the field for the part of a head that rope turns, None
    where it turns all; rope: whether there is any. unused: patterns of tensors that no model of the family uses.
    """

    arch: str
    fields: Mapping[str, str]
    when: str | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    present: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, str] = field(default_factory=dict)
    expects: Mapping[str, Any] = field(default_factory=dict)
    neutral: frozenset[str] = frozenset()
    tensors: Mapping[str, Source] | Callable[[Spec], Mapping[str, Source]] = field(default_factory=dict)
    neighbours: bool = False
    share: str | None = None
    rope: bool = True
    unused: tuple[str, ...] = ()
    finish: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None


# Fields of most decoders.
DECODER = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}

_OF_MODEL = {
    "embed": "token_embd",
    "embed_norm": "token_embd_norm",
    "position": "position_embd",
    "norm": "output_norm",
    "head": "output",
}
_OF_LAYER = {
    "norm1": "attn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm",
    "post1": "post_attention_norm",
    "norm2": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
    "post2": "post_ffw_norm",
    "router": "ffn_gate_inp",
    "expert.{e}.gate": "ffn_gate_exps.{e}",
    "expert.{e}.up": "ffn_up_exps.{e}",
    "expert.{e}.down": "ffn_down_exps.{e}",
}


def _both(ours: str, theirs: str) -> dict[str, Source]:
    return {ours: Source(f"{theirs}.weight"), f"{ours}.bias": Source(f"{theirs}.bias")}


# Our parameter -> tensor of the file.
TENSORS = {
    **{name: source for ours, theirs in _OF_MODEL.items() for name, source in _both(ours, theirs).items()},
    **{
        name: source
        for ours, theirs in _OF_LAYER.items()
        for name, source in _both(f"layer.{{i}}.{ours}", f"blk.{{i}}.{theirs}").items()
    },
}

_QKV = ("q", "k", "v")
FUSED_QKV = {
    **{f"layer.{{i}}.{n}": Source("blk.{i}.attn_qkv.weight", among=_QKV) for n in _QKV},
    **{f"layer.{{i}}.{n}.bias": Source("blk.{i}.attn_qkv.bias", among=_QKV) for n in _QKV},
}
