"""The error tree. The outermost loop (CLI, server, job) turns a class into an exit code or an HTTP status.

LlmosError
├── UserError        exit 2, HTTP 400: the caller can mend it; shown without a traceback
│   └── FormatError  a file that is not what it claims to be; names the file and, where known, the offset
├── ResourceError    exit 3, HTTP 503: memory, device, disk, time; trying again later or smaller may help
└── VerificationError  exit 4, HTTP 500: what was made is too far from what it was made of; nothing was published
"""

__all__ = ["FormatError", "LlmosError", "ResourceError", "UserError", "VerificationError"]


class LlmosError(Exception):
    """Base of every error that LLMOS raises on purpose. The message says what was seen, what is allowed, what to do.

    Files may hold what UTF-8 cannot (half of a surrogate pair in a JSON text): a message quotes it escaped, so that it can be written.
    """

    exit_code = 1
    http_status = 500

    def __init__(self, *args: object):
        super().__init__(*(_writable(arg) if isinstance(arg, str) else arg for arg in args))


class UserError(LlmosError):
    """The request cannot be carried out as put: a wrong name, value, file or combination."""

    exit_code = 2
    http_status = 400


class FormatError(UserError):
    """A file that is damaged or not of the format it should be.

    path: the file; offset: byte position where reading failed, None where there is none to name.
    """

    def __init__(self, path, problem: str, *, offset: int | None = None):
        where = f"{path}" if offset is None else f"{path} (byte {offset})"
        super().__init__(f"{where}: {problem}")
        self.path, self.offset = path, offset


class ResourceError(LlmosError):
    """Too little of something: memory, disk, a device, a compiler, time."""

    exit_code = 3
    http_status = 503


class VerificationError(LlmosError):
    """A converted, compressed or compiled model that lies past the limits of its format."""

    exit_code = 4


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
