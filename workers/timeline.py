"""A picture of a playbook's calendar: an SVG with a row for each variant and a mark for each thing done on its day."""

import re
from collections.abc import Sequence
from html import escape
from typing import Final

from workers.catalogue import Entry, Row

WIDTH: Final = 960
LEFT: Final = 150
TOP: Final = 54
HEIGHT: Final = 92
COLOURS: Final = {
    "billing": "#b45309",
    "e-mail": "#1d4ed8",
    "in-app": "#0e7490",
    "task": "#7c3aed",
    "access": "#b91c1c",
    "CRM": "#475569",
    "offer": "#15803d",
    "fact": "#be185d",
}
_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1f2937 }
.small { font-size: 10px; fill: #6b7280 }
.name { font-weight: 600 }
.line { stroke: #9ca3af; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #e5e7eb } .small { fill: #9ca3af } .back { fill: #111827 }
  circle { filter: brightness(1.7) } }
"""


def day_of(row: Row) -> float:
    """The day a row stands on, counted as its playbook counts; days before an anchor are negative."""
    number = float(found.group()) if (found := re.search(r"[\d.]+", row.when)) else 0.0
    if "before" in row.when:
        return -number
    return number / 24 if row.when.startswith("Hour") else number


def svg(entry: Entry) -> str:
    """The picture. Marks of one day are stacked; a hollow mark is done only under a condition, or not at all."""
    height = TOP + HEIGHT * len(entry.variants) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(entry.name)}: {escape(entry.summary)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text class="name" x="16" y="24">{escape(entry.name)}</text>',
        *_legend(entry),
    ]
    days = [day_of(row) for variant in entry.variants for row in variant.rows]
    first, last = min(days), max(days)
    for number, variant in enumerate(entry.variants):
        middle = TOP + HEIGHT * number + HEIGHT - 26
        parts.append(f'<line class="line" x1="{LEFT}" x2="{WIDTH - 30}" y1="{middle}" y2="{middle}"/>')
        for line, part in enumerate(_wrapped(variant.label)):
            parts.append(f'<text class="small" x="16" y="{middle - 24 + 12 * line}">{escape(part)}</text>')
        parts += _marks(variant.rows, middle, first, last)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _wrapped(label: str) -> list[str]:
    return label.split("; ")[:4]


def _legend(entry: Entry) -> list[str]:
    used = [
        channel
        for channel in COLOURS
        if any(does.startswith(f"{channel}: ") for each in entry.variants for row in each.rows for does in row.does)
    ]
    parts = []
    for number, channel in enumerate(used):
        x = LEFT + 100 * number
        parts.append(f'<circle cx="{x}" cy="20" r="4" fill="{COLOURS[channel]}"/>')
        parts.append(f'<text class="small" x="{x + 9}" y="24">{channel}</text>')
    return parts


def _marks(rows: Sequence[Row], middle: int, first: float, last: float) -> list[str]:
    parts: list[str] = []
    stacked: dict[int, int] = {}
    labelled: list[float] = []
    for row in rows:
        x = LEFT + 14 + (day_of(row) - first) / ((last - first) or 1) * (WIDTH - LEFT - 60)
        channels = [does.partition(": ")[0] for does in row.does] or [""]
        for channel in channels:
            slot = round(x)
            level = stacked.get(slot, 0)
            stacked[slot] = level + 1
            colour = COLOURS.get(channel, "#9ca3af")
            fill = "none" if row.only_if or not row.does or channel == "not" else colour
            parts.append(
                f'<circle cx="{x:.0f}" cy="{middle - 9 * level}" r="4" fill="{fill}" stroke="{colour}">'
                f"<title>{escape(row.when)}: {escape(row.title)}</title></circle>"
            )
        day = day_of(row)
        if day == int(day) and all(abs(x - other) > 24 for other in labelled):
            labelled.append(x)
            parts.append(f'<text class="small" x="{x:.0f}" y="{middle + 18}" text-anchor="middle">{day:g}</text>')
    return parts
