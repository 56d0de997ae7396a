"""Architectures as pictures: the body with its parts, and beside it the fabric kept for each of them."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from posefabric.architecture import Architecture
from posefabric.backbone import BACKBONE
from posefabric.draw.body import draw_body, draw_number
from posefabric.draw.cells import (
    CELL_INCHES,
    SLOT_STYLE,
    draw_box,
    draw_feature,
    draw_inputs,
    draw_operations,
    place,
    set_up,
)
from posefabric.draw.figures import figure_style, save_figure
from posefabric.draw.palette import INK, MUTED, operation_colours
from posefabric.genotype import Genotype, used_features
from posefabric.space import ZERO, SearchSpace, feature_name

_MARGIN, _GAP, _TITLE, _FOOT, _BODY, _LEGEND = 0.25, 0.3, 0.78, 0.32, 2.35, 1.0
"""Inches."""


@dataclass(frozen=True)
class _Panel:
    """One fabric to draw: `number` is that of its part, from 0, or None for the backbone."""

    name: str
    caption: str
    number: int | None
    space: SearchSpace
    genotype: Genotype

    @property
    def inches(self) -> tuple[float, float]:
        columns = self.space.last_layer - self.space.first_layer + 1
        return columns * CELL_INCHES[0], len(self.space.strides) * CELL_INCHES[1] + _TITLE + _FOOT


def draw_fabrics(architecture: Architecture, path: Path | None = None) -> Figure:
    """The body and the fabric of every part; a CNF backbone has a panel of its own before them.

    Columns are the input features and the layers, rows the scales. A cell's box holds one bar per edge, blank
    for a dropped edge; its segments are the kept operations, each as long as its share of the edge's alpha
    multipliers. An arrow is a kept input, as wide as its share of the cell's beta multipliers. Dotted outlines
    are cells that were not kept. Saved as `.svg` or `.png` where a path is given.
    """
    rows, colours = _rows(_panels(architecture)), operation_colours_of(architecture)
    right = max(sum(panel.inches[0] + _GAP for panel in row) for row in rows)
    heights = [max(panel.inches[1] for panel in row) for row in rows]
    width = 2 * _MARGIN + _BODY + right
    height = 2 * _MARGIN + sum(heights) + _GAP * (len(rows) - 1) + _LEGEND
    with figure_style():
        figure = Figure(figsize=(width, height))
        body_height = min(height - _LEGEND - 2 * _MARGIN, 5.2)
        body = _axes(figure, (_MARGIN, height - _MARGIN - body_height), (_BODY - 0.2, body_height))
        draw_body(body, architecture.skeleton, architecture.partition)
        top = height - _MARGIN
        for row, row_height in zip(rows, heights, strict=True):
            left = _MARGIN + _BODY + _GAP
            for panel in row:
                _draw_panel(figure, panel, (left, top), colours)
                left += panel.inches[0] + _GAP
            top -= row_height + _GAP
        _draw_legend(figure, colours, _slots_of(architecture))
    if path is not None:
        save_figure(figure, path)
    return figure


def operation_colours_of(architecture: Architecture) -> dict[str, str]:
    """A colour for every candidate operation of any of its fabrics, `zero` left out."""
    spaces = [space for space, _ in architecture.fabrics().values()]
    names = dict.fromkeys(name for space in spaces for name in space.operations if name != ZERO)
    return operation_colours(tuple(names))


def _slots_of(architecture: Architecture) -> set[str]:
    sites = (site for space, _ in architecture.fabrics().values() for site in space.sites())
    return {source.slot for site in sites for source in site.sources}


def fabric_names(architecture: Architecture) -> list[str]:
    """The fabrics in reading order: a CNF backbone, then the parts as the partition lists them."""
    return [name for name in (BACKBONE, *architecture.partition) if name in architecture.fabrics()]


def purpose(architecture: Architecture, fabric: str) -> str:
    """What a fabric is for, in words: the keypoints of its part."""
    if fabric not in architecture.partition:
        return "features for all parts"
    keypoints = architecture.partition[fabric]
    everyone = len(keypoints) == architecture.skeleton.num_keypoints
    return f"all {len(keypoints)} keypoints" if everyone else ", ".join(keypoints).replace("_", " ")


def kept_cells(space: SearchSpace, genotype: Genotype) -> str:
    return f"{len(genotype.cells)} of {len(space.sites())} cells kept"


def _panels(architecture: Architecture) -> list[_Panel]:
    numbers = {part: number for number, part in enumerate(architecture.partition)}
    panels = []
    for name in fabric_names(architecture):
        space, genotype = architecture.fabrics()[name]
        caption = textwrap.fill(purpose(architecture, name), 56, max_lines=2, placeholder=" ...")
        caption = f"{caption}\n{kept_cells(space, genotype)}"
        panels.append(_Panel(name.replace("_", " "), caption, numbers.get(name), space, genotype))
    return panels


def _rows(panels: list[_Panel]) -> list[list[_Panel]]:
    """Panels in reading order, broken into rows as wide as two parts' panels (or the widest panel)."""
    columns = min(len(panels), 2)
    room = max(columns * (panels[-1].inches[0] + _GAP), *(panel.inches[0] + _GAP for panel in panels))
    rows: list[list[_Panel]] = [[]]
    for panel in panels:
        if sum(other.inches[0] + _GAP for other in (*rows[-1], panel)) > room + 1e-6:
            rows.append([])
        rows[-1].append(panel)
    return rows


def _axes(figure: Figure, left_bottom: tuple[float, float], size: tuple[float, float]) -> Axes:
    width, height = figure.get_size_inches()
    axes = figure.add_axes(
        (left_bottom[0] / width, left_bottom[1] / height, size[0] / width, size[1] / height), frameon=False
    )
    axes.grid(False)
    return axes


def _draw_panel(figure: Figure, panel: _Panel, left_top: tuple[float, float], colours: Mapping[str, str]) -> None:
    space, (width, height) = panel.space, panel.inches
    axes = _axes(figure, (left_top[0], left_top[1] - height + _FOOT), (width, height - _TITLE - _FOOT))
    set_up(axes, space)
    _draw_title(axes, panel)
    used = used_features(space, panel.genotype)
    for stride in space.input_strides:
        draw_feature(axes, place(space, feature_name(stride)), used=stride in used)
    for site in space.sites():
        choice = panel.genotype.cells.get(site.name)
        draw_box(axes, place(space, site.name), kept=choice is not None)
        if choice is not None:
            draw_operations(axes, place(space, site.name), choice, colours)
            draw_inputs(axes, space, site, choice)


def _draw_title(axes: Axes, panel: _Panel) -> None:
    unit = 1 / CELL_INCHES[1]
    left, top = -0.45, 0.5
    if panel.number is not None:
        draw_number(axes, -0.36, top + 0.62 * unit, panel.number)
        left = -0.18
    axes.text(left, top + 0.62 * unit, panel.name, fontsize=11, weight="bold", va="center")
    axes.text(-0.45, top + 0.45 * unit, panel.caption, fontsize=8, color=MUTED, va="top", linespacing=1.35)


def _draw_legend(figure: Figure, colours: Mapping[str, str], slots: Collection[str]) -> None:
    operations: list[Artist] = [Patch(color=colour, label=name) for name, colour in colours.items()]
    inputs: list[Artist] = [
        Line2D([], [], color=INK, linestyle=style, linewidth=1.8, dash_capstyle="butt", label=words)
        for slot, (words, style, _) in SLOT_STYLE.items()
        if slot in slots
    ]
    width, height = figure.get_size_inches()
    for line, handles in enumerate((operations, inputs)):
        figure.legend(
            handles=handles,
            ncols=len(handles),
            loc="upper left",
            bbox_to_anchor=(_MARGIN / width, (_LEGEND - 0.05 - 0.22 * line) / height),
            fontsize=8,
            handlelength=2.6,
            columnspacing=1.5,
            borderpad=0,
            borderaxespad=0,
        )
    explanation = textwrap.fill(_EXPLANATION, int(16 * (width - 2 * _MARGIN)))
    figure.text(_MARGIN / width, (_LEGEND - 0.55) / height, explanation, fontsize=8, color=MUTED, va="top")


_EXPLANATION = (
    "Inside a cell: one row per edge, each colour as long as its operation's share (alpha). "
    "Arrows: the wider, the larger the input's share (beta). Dotted outlines: not kept."
)
