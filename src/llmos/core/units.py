"""Bytes and seconds for people: `1.5 GiB` in, `1.5 GiB` out."""

import re

from llmos.core.errors import UserError

__all__ = ["as_bytes", "format_bytes", "format_seconds", "parse_bytes"]

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
_FACTORS = {"": 1, "b": 1} | {
    prefix + suffix: base**power
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, base in (("", 1024), ("ib", 1024), ("b", 1000))
}


def format_bytes(n_bytes: float) -> str:
    """Three significant digits with a binary unit: 1536 -> '1.50 KiB'."""
    value, unit = float(n_bytes), _BINARY[0]
    for unit in _BINARY:
        if abs(value) < 1024 or unit == _BINARY[-1]:
            break
        value /= 1024
    if unit == "B":
        return f"{value:.0f} B"
    return f"{value:.{max(0, 3 - len(str(int(abs(value)))))}f} {unit}"


def format_seconds(seconds: float) -> str:
    """Microseconds to hours, in the unit that leaves one to three digits before the point."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def parse_bytes(text: str) -> int:
    """Bytes of '512', '1.5 GiB', '2g' (binary) or '10 MB' (decimal). Raises UserError for anything else."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].lower() not in _FACTORS:
        raise UserError(f"{text!r} is not a size: write a number with B, KiB, MiB, GiB, TiB, kB, MB, GB or TB")
    return int(float(match[1]) * _FACTORS[match[2].lower()])


def as_bytes(size: int | str) -> int:
    """Bytes of a size that is given as a number or as `parse_bytes` takes it. Raises UserError for anything else."""
    if isinstance(size, str):
        return parse_bytes(size)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise UserError(f"{size!r} is not a size: give bytes, or a text such as '4GiB'")
    return size
