"""Facts of a model for people and for `llmos info --json`."""

from collections import Counter
from typing import Any

from llmos.api.embed import pooling_of
from llmos.api.embedding_settings import EmbeddingSettings
from llmos.api.options import formats_of
from llmos.api.source import Source
from llmos.compiler import Graph, Options, graph_hash
from llmos.models import Experts, Spec, parameter_count

__all__ = ["facts_of"]


def facts_of(
    source: Source, options: Options, graph: Graph, *, target: str, context: int, weights_bytes: int
) -> dict[str, Any]:
    """What a prepared model is made of: names, sizes, formats, hashes."""
    spec, attention = source.spec, source.spec.layers[0].attention
    return {
        "name": source.resolved.display,
        "path": str(source.resolved.path),
        "adapters": _adapter_names(source),
        "family": spec.family,
        "architecture": _architecture(spec),
        "parameters": parameter_count(spec),
        "layers": len(spec.layers),
        "encoder_layers": None if spec.encoder is None else len(spec.encoder.layers),
        "width": spec.width,
        "heads": attention.heads,
        "kv_heads": attention.kv_heads,
        **_expert_facts(spec),
        **_window_facts(spec),
        "vocab": spec.vocab,
        "context": context,
        "trained_context": spec.context,
        "formats": formats_of(options) | _single(options) | {"checkpoint": source.stored or source.precision},
        "weights_bytes": weights_bytes,
        "target": target,
        "prompt_format": source.prompt_format.hash if source.prompt_format else None,
        "chat_template": bool(source.prompt_format and source.prompt_format.chat_template),
        "embedding": _embedding_facts(source),
        "graph": graph_hash(graph),
        "bundle": source.bundle.manifest.get("payload") if source.bundle else None,
    }


def _architecture(spec: Spec) -> str:
    """What reads and what writes, in the words of the field. An encoder-only model makes embeddings and no text."""
    if spec.encoder is not None:
        return "encoder-decoder"
    return "encoder-only" if spec.bidirectional else "decoder-only"


def _expert_facts(spec: Spec) -> dict[str, int | None]:
    """How many experts a layer has and how many of them work on a token; None without any."""
    experts = next((layer.mlp for layer in spec.layers if isinstance(layer.mlp, Experts)), None)
    return {
        "experts": None if experts is None else experts.count,
        "experts_per_token": None if experts is None else experts.per_token,
    }


def _window_facts(spec: Spec) -> dict[str, int | None]:
    """How many tokens a token sees where it does not see all (the most, of several such numbers), and in how many layers."""
    windows = [layer.attention.window for layer in spec.layers if layer.attention.window is not None]
    return {"sliding_window": max(windows, default=None), "sliding_window_layers": len(windows) or None}


def _single(options: Options) -> dict[str, dict[str, int]]:
    """How many matrices have a format of their own, by format; nothing where none has."""
    counts = Counter(format for _, format in options.matrices)
    return {"matrices": dict(sorted(counts.items()))} if counts else {}


def _adapter_names(source: Source) -> list[str]:
    """What was merged into a model, now or when its bundle was made."""
    if source.bundle is None:
        return [each.name for each in source.adapters]
    found = source.bundle.document("lineage").get("adapters")
    return [str(each.get("source")) for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _embedding_facts(source: Source) -> dict[str, Any] | None:
    """What is used unasked by `Model.embed`, of an encoder and of what says anything of it."""
    if source.embedding is None and not source.spec.bidirectional:
        return None
    facts = source.embedding or EmbeddingSettings()
    return {
        "pooling": None if facts.refused else pooling_of(source.spec, facts),
        "normalize": facts.normalize,
        "max_tokens": facts.max_tokens,
        "prompts": list(facts.prompts),
    }
