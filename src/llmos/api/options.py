"""The number formats of a model: those asked for, else those that keep what its files hold."""

from collections.abc import Mapping
from typing import Any, cast

from llmos.api.source import Source
from llmos.compiler import Options
from llmos.core.errors import UserError

__all__ = ["choose_options", "formats_of", "named_options"]


def choose_options(source: Source, weights: str | None, kv: str | None) -> Options:
    """Formats as asked for; by default the checkpoint's own precision, and keys and values in float32 or float16 where
    weights are, else in bf16.
    """
    if source.bundle is not None:
        stored = source.bundle.manifest["formats"]
        for what, wanted in (("weights", weights), ("kv", kv)):
            if wanted is not None and wanted != stored[what]:
                raise UserError(
                    f"{source.bundle.path} was compiled with {what} {stored[what]}, not {wanted}: compile it again from its source"
                )
        return named_options(**stored)
    tables, matrices = (source.tables, source.matrices) if weights is None else (None, {})
    weights = weights or source.precision
    return named_options(weights, kv or (weights if weights in ("float32", "float16") else "bf16"), tables, matrices)


def formats_of(options: Options) -> dict[str, Any]:
    """The number formats by what they are of; of tables and of single matrices only where those have their own."""
    tables = {} if options.tables in (None, options.weights) else {"tables": str(options.tables)}
    matrices = {"matrices": dict(options.matrices)} if options.matrices else {}
    return {"weights": options.weights, "kv": options.kv, **tables, **matrices}


def named_options(
    weights: str, kv: str, tables: str | None = None, matrices: Mapping[str, str] | None = None
) -> Options:
    """The options of formats by their names. Raises UserError for names that are none."""
    own = tuple(sorted((matrices or {}).items()))
    return Options(weights=cast(Any, weights), kv=cast(Any, kv), tables=cast(Any, tables), matrices=own)
