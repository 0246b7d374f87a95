"""Loading a model for a verb: progress on the terminal, notices as one line on stderr."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llmos.cli.terminal import Progress, tell
from llmos.cli.wording import in_flags

__all__ = ["load", "told_notices"]


@contextmanager
def told_notices() -> Iterator[None]:
    """Tells on stderr what a user should know about a model that is opened within; other warnings stay warnings."""
    from llmos.api import ModelNotice

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ModelNotice)
        yield
    for notice in caught:
        if issubclass(notice.category, ModelNotice):
            tell(in_flags(str(notice.message)))
        else:
            warnings.warn_explicit(notice.message, notice.category, notice.filename, notice.lineno)


def load(name: str, **settings: Any) -> Any:
    """The model of a name, as `llmos.api.load_model` gives it. What a user should know about it is told on stderr."""
    from llmos.api import load_model

    with told_notices(), Progress() as progress:
        return load_model(name, progress=progress, **settings)
