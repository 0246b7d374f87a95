"""What the `tokenizers` library fails with becomes an error of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmos.core.errors import FormatError, LlmosError

__all__ = ["failures"]


@contextmanager
def failures(where: str | Path, what: str) -> Iterator[None]:
    """Turn failures of the library into FormatError.

    It raises bare Exception for what it foresees. A panic of its Rust code, which damaged tokenizers cause, comes as a class
    that derives from BaseException and cannot be imported.
    """
    try:
        yield
    except LlmosError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise FormatError(where, f"{what}: {error}") from error
