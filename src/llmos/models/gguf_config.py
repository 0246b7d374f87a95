"""From the metadata of a GGUF file to a config.json's fields, so that one function of a family makes its spec of either.

Every key of the architecture is read, known to change nothing, or refused by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

from llmos.core.errors import UserError
from llmos.models.fields import Fields
from llmos.models.gguf import TENSORS, Gguf
from llmos.models.gguf_rope import FACTOR_TENSORS, rope_fields
from llmos.models.registry import FAMILIES, fill_sources
from llmos.models.source import Source
from llmos.models.spec import Spec

__all__ = ["config_from_gguf", "gguf_sources", "gguf_unused"]

_EMBEDDING = "token_embd.weight"
_HEAD = "output.weight"

# Keys that change nothing of what is computed: sizes that the tensors tell, notes of tools, what becomes of embeddings.
_NEUTRAL = frozenset({"vocab_size", "tensor_data_layout", "pooling_type", "rope.scaling.finetuned"})

# What files of other types hold, and what to do.
_OTHER_FILES = {
    "adapter": "a LoRA adapter (general.type 'adapter') and no model: LLMOS merges adapters of peft, folders with adapter_config.json, "
    "named as the adapter of a model",
    "mmproj": "a projector of pictures (mmproj) and no model: LLMOS reads text models; name the file of the model that it belongs to",
    "imatrix": "an importance matrix (general.type 'imatrix'), which helps llama.cpp to quantise, and no model",
    "vocab": "a vocabulary (general.type 'vocab') and no model",
}

# Keys of parts that most families do not have, with the value that means so.
_EXPECTED = {
    "attention.causal": True,
    "attention.clamp_kqv": 0,
    "attention.max_alibi_bias": 0,
    "expert_count": 0,
    "expert_used_count": 0,
    "nextn_predict_layers": 0,
}


def config_from_gguf(
    metadata: Mapping[str, Any], shapes: Mapping[str, Sequence[int]], factors: Mapping[str, list[float]], where: str
) -> dict[str, Any]:
    """The fields of a config.json. shapes: of the file's tensors; factors: values of those in `FACTOR_TENSORS`.

    metadata: plain values and lists. Raises UserError that begins with `where` for an architecture that is not known and for
    keys that are missing or not understood.
    """
    arch = _architecture(metadata, where)
    family, gguf = _family(arch, metadata, where)
    keys = Fields({key.removeprefix(f"{arch}."): value for key, value in metadata.items() if _is_of(key, arch)}, where)
    _require(keys, gguf, arch)
    config = {"model_type": family.MODEL_TYPE, **gguf.constants}
    for name, key in gguf.fields.items():
        keys.read.add(key)
        if key in keys.raw:
            config[name] = keys.raw[key]
    config |= {name: tensor in shapes for name, tensor in gguf.present.items()}
    config |= {name: shapes[tensor][0] if tensor in shapes else 0 for name, tensor in gguf.rows.items()}
    config |= {"vocab_size": _vocabulary(shapes, where), "tie_word_embeddings": _HEAD not in shapes}
    head_dim = _head_dim(keys, gguf)
    if gguf.rope:
        config |= rope_fields(keys, gguf, head_dim, factors)
    for key, value in {**_EXPECTED, **gguf.expects, "attention.value_length": head_dim}.items():
        if key not in keys.read:
            keys.expect(key, value)
    keys.refuse_unread(_NEUTRAL | gguf.neutral, arch)
    return config if gguf.finish is None else config | dict(gguf.finish(config))


def gguf_sources(spec: Spec) -> dict[str, Source]:
    """Where each parameter of the spec lies in the GGUF files of its family."""
    gguf = FAMILIES[spec.family].GGUF
    own = gguf.tensors(spec) if callable(gguf.tensors) else gguf.tensors
    return {name: _neighbours(gguf, spec, name, source) for name, source in fill_sources(TENSORS | own, spec).items()}


def gguf_unused(spec: Spec) -> tuple[str, ...]:
    """Patterns of tensors that hold no parameter: they are read for the config, or no model of the family uses them."""
    return (*(name.replace(".", r"\.") for name in FACTOR_TENSORS), *FAMILIES[spec.family].GGUF.unused)


def _neighbours(gguf: Gguf, spec: Spec, name: str, source: Source) -> Source:
    """The source with the number of heads, where rope turns neighbours together in each of them."""
    part, _, bias = name.rpartition(".")
    which = part.rpartition(".")[2] if bias == "bias" else bias
    if not gguf.neighbours or which not in ("q", "k") or not name.startswith("layer."):
        return source
    attention = spec.layers[int(name.split(".")[1])].attention
    return replace(source, paired_heads=attention.heads if which == "q" else attention.kv_heads)


def _architecture(metadata: Mapping[str, Any], where: str) -> str:
    arch, kind = metadata.get("general.architecture"), metadata.get("general.type", "model")
    if arch == "clip":  # how files of pictures' projectors were marked before they had a type
        kind = "mmproj"
    if kind != "model":
        what = _OTHER_FILES.get(kind) if isinstance(kind, str) else None
        raise UserError(f"{where}: holds {what or f'a part of kind {kind!r} (general.type), not a model by itself'}")
    if not isinstance(arch, str) or not arch:
        raise UserError(f"{where}: general.architecture is missing: the file does not say what model it holds")
    return arch


def _family(arch: str, metadata: Mapping[str, Any], where: str) -> tuple[ModuleType, Gguf]:
    """The family that stores its models under this name; of several the one whose key is there, else the one without."""
    known = [(family, gguf) for family in FAMILIES.values() for gguf in _ways(family)]
    ways = [(family, gguf) for family, gguf in known if gguf.arch == arch]
    if not ways:
        names = ", ".join(sorted({gguf.arch for _, gguf in known}))
        raise UserError(f"{where}: models of the architecture {arch!r} are not read from GGUF; known: {names}")
    marked = [way for way in ways if way[1].when and metadata.get(f"{arch}.{way[1].when}")]
    plain = [way for way in ways if way[1].when is None]
    if not marked and not plain:
        raise UserError(f"{where}: {' or '.join(f'{arch}.{way[1].when}' for way in ways)} is missing")
    return (marked or plain)[0]


def _ways(family: ModuleType) -> list[Gguf]:
    gguf = getattr(family, "GGUF", None)
    return [] if gguf is None else [gguf]


def _require(keys: Fields, gguf: Gguf, arch: str) -> None:
    """Raise UserError for keys that a config.json may leave out and a GGUF file may not: llama.cpp loads none without them."""
    layer, rms = "attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon"
    for key in ("context_length", layer if layer in gguf.fields.values() else rms):
        if key not in keys.raw:
            raise UserError(f"{keys.where}: {arch}.{key} is missing, which every model of this architecture has")


def _is_of(key: str, arch: str) -> bool:
    return key.startswith(f"{arch}.")


def _vocabulary(shapes: Mapping[str, Sequence[int]], where: str) -> int:
    if _EMBEDDING not in shapes:
        raise UserError(f"{where}: there is no tensor {_EMBEDDING}: the file holds no model, perhaps only a vocabulary")
    return shapes[_EMBEDDING][0]


def _head_dim(keys: Fields, gguf: Gguf) -> int:
    width, heads = keys.integer("embedding_length"), keys.integer("attention.head_count")
    return keys.integer("attention.key_length", max(1, width // heads))
