"""Bar charts as small SVG files that are readable on light and dark pages: colours of middle brightness, no background."""

from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["bars"]

_INK = "#7d8590"
_COLOURS = ("#2f81f7", "#d29922", "#3fb950", "#db61a2", "#a371f7", "#8b949e")
_BAR, _GAP, _LEFT, _RIGHT, _WIDTH = 13, 12, 150, 66, 760


def bars(title: str, groups: Mapping[str, Mapping[str, float | None]], unit: str, mark: float | None = None) -> str:
    """Horizontal bars: for each group one for each series, None where it has none. mark: a line across at this value."""
    series = list(dict.fromkeys(name for values in groups.values() for name in values))
    known = [value for values in groups.values() for value in values.values() if value is not None]
    most = max([*known, mark or 0.0, 1e-9])
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    parts, y = [_text(8, 18, title, 14)], 34
    for i, name in enumerate(series):
        x = 8 + i * (_WIDTH - 16) // max(len(series), 1)
        parts.append(
            f'<rect x="{x}" y="{y}" width="11" height="11" rx="2" fill="{_colour(i)}"/>' + _text(x + 16, y + 10, name)
        )
    y += 28
    top = y
    for group, values in groups.items():
        shown = [(i, values[name]) for i, name in enumerate(series) if values.get(name) is not None]
        parts.append(_text(8, y + len(shown) * _BAR / 2 + 4, group))
        for i, value in shown:
            length = value * scale
            parts.append(
                f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR - 2}" rx="2" fill="{_colour(i)}"/>'
            )
            parts.append(_text(_LEFT + length + 4, y + 9.5, f"{value:.3g}", 10))
            y += _BAR
        y += _GAP
    if mark is not None:
        x = _LEFT + mark * scale
        line = f'x1="{x:.1f}" x2="{x:.1f}" y1="{top - 4}" y2="{y - _GAP + 4}"'
        parts.append(f'<line {line} stroke="{_INK}" stroke-dasharray="4 3"/>')
    parts.append(_text(_LEFT, y + 6, unit, 11))
    return _document(parts, y + 16)


def _colour(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)]


def _text(x: float, y: float, text: str, size: int = 12) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{_INK}">{escape(text)}</text>'


def _document(parts: Sequence[str], height: float) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" font-family="system-ui, sans-serif">'
    return "\n".join([head, *parts, "</svg>\n"])
