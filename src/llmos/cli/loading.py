"""Loading a model for a verb: progress on the terminal, notices as one line on stderr."""

import warnings
from typing import Any

from llmos.cli.terminal import Progress, tell
from llmos.cli.wording import in_flags

__all__ = ["load"]


def load(name: str, **settings: Any) -> Any:
    """The model of a name, as `llmos.api.load_model` gives it. What a user should know about it is told on stderr."""
    from llmos.api import ModelNotice, load_model

    with warnings.catch_warnings(record=True) as caught, Progress() as progress:
        warnings.simplefilter("always", ModelNotice)
        model = load_model(name, progress=progress, **settings)
    for notice in caught:
        if issubclass(notice.category, ModelNotice):
            tell(in_flags(str(notice.message)))
        else:
            warnings.warn_explicit(notice.message, notice.category, notice.filename, notice.lineno)
    return model
