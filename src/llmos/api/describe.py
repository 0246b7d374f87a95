"""What a model is made of, from the headers of its files alone: for `llmos info`, also of models that this machine cannot run."""

import warnings
from collections.abc import Callable
from typing import Any

from llmos import hardware
from llmos.api.adapters import Adapters, adapter_list
from llmos.api.assemble import weights_bytes
from llmos.api.facts import facts_of
from llmos.api.limits import chosen_context, chosen_memory
from llmos.api.model_defaults import left_undone
from llmos.api.notice import ModelNotice
from llmos.api.opening import open_source, open_tokenizer
from llmos.api.options import choose_options
from llmos.api.prepare import demand, planned_graph
from llmos.api.source import told
from llmos.compiler import chosen_target
from llmos.plan import PAGE_TOKENS

__all__ = ["describe_model"]


def describe_model(
    name: str,
    *,
    weights: str | None = None,
    kv: str | None = None,
    memory: str | None = None,
    adapter: Adapters = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """What `Model.info` would say of a model that is loaded so now. Nothing is compiled, and of the weights only headers are read.

    Raises UserError and FormatError as `load_model` does, and nothing for a lack of memory.
    """
    source = open_source(name, adapter_list(adapter), progress)
    undone = left_undone(source.resolved.display, source.generation, source.tokenizer_unapplied)
    for text in (*told(source, weights), *undone):
        warnings.warn(text, ModelNotice, stacklevel=2)
    context, options = chosen_context(source.spec, None), choose_options(source, weights, kv)
    graph = planned_graph(source, options)
    open_tokenizer(source)  # what does not fit the model is refused
    target, n_bytes = chosen_target(None).name, weights_bytes(graph)
    wanted = demand(source, graph, context=context, given=(weights, kv))
    free = hardware.memory().available
    wanted = chosen_memory(wanted, memory, free)
    n_pages = wanted.n_pages(free, None)
    pool = {"n_pages": n_pages, "page_tokens": PAGE_TOKENS, "page_bytes": wanted.sizes.page // wanted.sizes.tables}
    facts = facts_of(source, options, graph, target=target, context=context, weights_bytes=n_bytes)
    drafts = {"setting": "auto", "drafted": 0, "accepted": 0}
    return facts | {
        "threads": wanted.threads,
        "memory": "mapped" if wanted.mapped else "fast",
        "kv_pool": pool,
        "speculation": drafts,
    }
