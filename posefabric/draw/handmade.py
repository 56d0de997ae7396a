"""Hand-made nets as pictures: the body with its parts, and beside it the widths of every part's head."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posefabric.draw.body import draw_body
from posefabric.draw.fabrics import draw_fabrics
from posefabric.draw.figures import figure_style, save_figure
from posefabric.draw.palette import MUTED, part_colour
from posefabric.handmade import HEADS, Description, HandMade

_ROW, _TITLE, _BODY, _PANEL = 0.24, 0.75, 2.35, 3.4
"""Inches: a bar's height, a panel's title, the widths of the body and of a panel."""


def draw_net(described: Description, path: Path | None = None) -> Figure:
    """The picture of any net: fabrics (`draw_fabrics`) or hand-made heads. Saved where a path is given."""
    return draw_handmade(described, path) if isinstance(described, HandMade) else draw_fabrics(described, path)


def draw_handmade(described: HandMade, path: Path | None = None) -> Figure:
    """The body and a panel per part: one bar per width of its head, as long as its number of channels."""
    rows = max(map(len, described.widths.values()))
    columns = min(len(described.partition), 2)
    lines = -(-len(described.partition) // columns)
    panel = rows * _ROW + _TITLE
    width, height = _BODY + columns * _PANEL, max(lines * panel, 3.2)
    with figure_style():
        figure = Figure(figsize=(width, height))
        body = figure.add_axes((0.02, 0.02, (_BODY - 0.3) / width, 0.96), frameon=False)
        draw_body(body, described.skeleton, described.partition)
        for number, part in enumerate(described.partition):
            line, column = divmod(number, columns)
            left, top = _BODY + column * _PANEL + 1.15, height - line * panel
            size = (_PANEL - 1.75) / width, len(described.widths[part]) * _ROW / height
            axes = figure.add_axes((left / width, (top - _TITLE + 0.1) / height - size[1], *size), frameon=False)
            _draw_widths(axes, described, part, part_colour(number))
    if path is not None:
        save_figure(figure, path)
    return figure


def _draw_widths(axes: Axes, described: HandMade, part: str, colour: str) -> None:
    widths, label = described.widths[part], HEADS[described.head].label
    places = range(len(widths))
    axes.barh(places, widths, height=0.62, color=colour)
    for place, width in zip(places, widths, strict=True):
        axes.annotate(f"{width}", (width, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(places, [label(index) for index in places], fontsize=8)
    axes.set_xticks([])
    axes.tick_params(length=0, pad=3)
    axes.set_ylim(len(widths) - 0.5, -0.5)
    axes.grid(False)
    title = f"{part.replace('_', ' ')}: {described.head.replace('_', ' ')}"
    axes.set_title(title, loc="left", fontsize=10, weight="bold", pad=16)
    axes.annotate("channels", (0, 1), (0, 4), "axes fraction", "offset points", fontsize=8, color=MUTED)
