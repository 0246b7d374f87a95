"""Facts of a model for people and for `llmos info --json`."""

from collections import Counter
from typing import Any

from llmos.api.options import formats_of
from llmos.api.source import Source
from llmos.compiler import Graph, Options, graph_hash
from llmos.models import parameter_count
from llmos.runtime import Program

__all__ = ["facts_of"]


def facts_of(
    source: Source, options: Options, graph: Graph, *, target: str, context: int, program: Program
) -> dict[str, Any]:
    """What a prepared model is made of: names, sizes, formats, hashes."""
    spec, attention = source.spec, source.spec.layers[0].attention
    return {
        "name": source.resolved.display,
        "path": str(source.resolved.path),
        "adapters": _adapter_names(source),
        "family": spec.family,
        "parameters": parameter_count(spec),
        "layers": len(spec.layers),
        "width": spec.width,
        "heads": attention.heads,
        "kv_heads": attention.kv_heads,
        "vocab": spec.vocab,
        "context": context,
        "trained_context": spec.context,
        "formats": formats_of(options) | _single(options) | {"checkpoint": source.stored or source.precision},
        "weights_bytes": program.weights_bytes,
        "target": target,
        "prompt_format": source.prompt_format.hash if source.prompt_format else None,
        "chat_template": bool(source.prompt_format and source.prompt_format.chat_template),
        "embedding": _embedding_facts(source),
        "graph": graph_hash(graph),
        "bundle": source.bundle.manifest.get("payload") if source.bundle else None,
    }


def _single(options: Options) -> dict[str, str]:
    """How many matrices have a format of their own, by format; nothing where none has."""
    counts = Counter(format for _, format in options.matrices)
    return {"matrices": ", ".join(f"{n} {format}" for format, n in sorted(counts.items()))} if counts else {}


def _adapter_names(source: Source) -> list[str]:
    """What was merged into a model, now or when its bundle was made."""
    if source.bundle is None:
        return [each.name for each in source.adapters]
    found = source.bundle.document("lineage").get("adapters")
    return [str(each.get("source")) for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _embedding_facts(source: Source) -> dict[str, Any] | None:
    """What is used unasked by `Model.embed`, where the model says anything of it."""
    if source.embedding is None:
        return None
    facts = source.embedding
    return {name: getattr(facts, name) for name in ("pooling", "normalize", "max_tokens")} | {
        "prompts": list(facts.prompts)
    }
