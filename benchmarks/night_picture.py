"""The nights of one fleet side by side as a picture (SVG), a group of bars for each figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bars", "picture"]

_WIDTH, _LEFT, _ROW, _TOP = 860, 330, 26, 74
_OURS, _THEIRS, _INK, _FAINT = "#2f7d5b", "#9aa3ad", "#1f2933", "#6b7680"


@dataclass(frozen=True)
class Bars:
    """One figure of every night, the first ones ours."""

    title: str
    unit: str
    values: Sequence[float]


def picture(title: str, names: Sequence[str], ours: int, figures: Sequence[Bars]) -> str:
    """Groups of horizontal bars, one group for each figure; the first `ours` of the nights are coloured."""
    height = _TOP + sum(34 + _ROW * len(names) for _ in figures) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="20" y="34" font-size="17" font-weight="bold" fill="{_INK}">{escape(title)}</text>',
        f'<text x="20" y="54" fill="{_FAINT}">shorter is better</text>',
    ]
    top = _TOP
    for bars in figures:
        parts.append(f'<text x="20" y="{top + 18}" font-weight="bold" fill="{_INK}">{escape(bars.title)}</text>')
        top += 28
        longest = max(*bars.values, 1e-9)
        for at, (name, value) in enumerate(zip(names, bars.values, strict=True)):
            width = max(1.0, (_WIDTH - _LEFT - 110) * value / longest)
            colour = _OURS if at < ours else _THEIRS
            middle = top + _ROW / 2 + 4
            parts += [
                f'<text x="{_LEFT - 10}" y="{middle:.0f}" text-anchor="end" fill="{_INK}">{escape(name)}</text>',
                f'<rect x="{_LEFT}" y="{top + 4}" width="{width:.1f}" height="{_ROW - 8}" rx="2" fill="{colour}"/>',
                f'<text x="{_LEFT + width + 8:.1f}" y="{middle:.0f}" fill="{_INK}">{value:.3g} {escape(bars.unit)}</text>',
            ]
            top += _ROW
        top += 6
    return "\n".join([*parts, "</svg>", ""])
