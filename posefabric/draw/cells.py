"""One cell of a fabric as a picture: its box, the operations inside, the arrows that come in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.patches import Ellipse, FancyBboxPatch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path as Curve

from posefabric.draw.palette import FAINT, INK, MUTED, PAPER
from posefabric.genotype import CellChoice
from posefabric.space import SearchSpace, Site, Slot, feature_name

CELL_INCHES = (0.98, 0.62)
"""Distance of neighbouring columns and rows."""

BOX_WH = (0.52, 0.62)
"""A cell's box in units of that distance."""

FEATURE_RADIUS = 0.1
_ASPECT = CELL_INCHES[0] / CELL_INCHES[1]

DashStyle = Literal["-"] | tuple[float, tuple[float, ...]]

SLOT_STYLE: dict[Slot, tuple[str, DashStyle, float]] = {
    "finer": ("input from the finer scale", (0, (4.0, 1.3)), 0.2),
    "same": ("from the same scale", "-", 0.0),
    "coarser": ("from the coarser scale", (0, (1.2, 0.9)), -0.2),
    "feature": ("from the backbone", (0, (3.0, 1.0, 0.8, 1.0)), 0.1),
}
"""Slot -> its words, line style and where its arrow enters the box (up is positive)."""


def place(space: SearchSpace, origin: str) -> tuple[float, float]:
    """Column and row (downwards negative) of a feature map or a cell."""
    for row, stride in enumerate(space.strides):
        if origin == feature_name(stride):
            return 0.0, -float(row)
    site = space.site(origin)
    return 1.0 + site.layer - space.first_layer, -float(space.strides.index(site.stride))


def set_up(axes: Axes, space: SearchSpace) -> None:
    """Axes for the drawing of a fabric: a column per layer, one before them for the features, a row per scale."""
    layers = range(space.first_layer, space.last_layer)
    axes.set_xlim(-0.5, len(layers) + 0.5)
    axes.set_ylim(-len(space.strides) + 0.5, 0.5)
    origin = "stem" if space.first_layer == 0 else "features"
    axes.set_xticks(range(len(layers) + 1), [origin, *(f"layer {layer}" for layer in layers)])
    axes.set_yticks([-i for i in range(len(space.strides))], [f"1/{stride}" for stride in space.strides])
    axes.tick_params(length=0, labelsize=8, pad=2)


def draw_feature(axes: Axes, centre: tuple[float, float], *, used: bool) -> None:
    """A feature map that some cell reads, or a dotted outline."""
    diameter = 2 * FEATURE_RADIUS
    style: dict[str, Any] = (
        {"facecolor": FAINT, "edgecolor": MUTED} if used else {"facecolor": "none", "edgecolor": FAINT, "ls": ":"}
    )
    axes.add_patch(Ellipse(centre, diameter, diameter * _ASPECT, linewidth=1.0, zorder=3, **style))


def draw_box(axes: Axes, centre: tuple[float, float], *, kept: bool) -> None:
    """The outline of a cell, dotted where it was not kept."""
    (x, y), (width, height) = centre, BOX_WH
    style: dict[str, Any] = (
        {"facecolor": PAPER, "edgecolor": INK, "linewidth": 1.1}
        if kept
        else {"facecolor": "none", "edgecolor": FAINT, "linewidth": 1.0, "linestyle": (0, (1, 2))}
    )
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.05",
            mutation_aspect=_ASPECT,
            zorder=3,
            **style,
        )
    )


def draw_operations(axes: Axes, centre: tuple[float, float], choice: CellChoice, colours: Mapping[str, str]) -> None:
    """One bar per edge, from the top, cut into the kept operations."""
    width, height = BOX_WH[0] - 0.1, BOX_WH[1] - 0.16
    bar = height / len(choice.edges)
    for edge, operations in enumerate(choice.edges):
        left, bottom = centre[0] - width / 2, centre[1] + height / 2 - (edge + 1) * bar
        for name, share in _shares(operations).items():
            size = share * width, 0.88 * bar
            axes.add_patch(Rectangle((left, bottom + 0.06 * bar), *size, color=colours[name], linewidth=0, zorder=4))
            left += share * width


def draw_inputs(
    axes: Axes, space: SearchSpace, site: Site, choice: CellChoice, kept: Collection[str] | None = None
) -> None:
    """An arrow for every input of a choice, from its map to the cell's side; faint where it is not among the `kept`."""
    shares = _shares(choice.inputs)
    for source in site.sources:
        if source.slot in shares:
            _, style, port = SLOT_STYLE[source.slot]
            (x0, y0), (x1, y1) = place(space, source.origin), place(space, site.name)
            start = FEATURE_RADIUS if x0 == 0 else BOX_WH[0] / 2
            ends = (x0 + start, y0), (x1 - BOX_WH[0] / 2, y1 + port)
            faint = kept is not None and source.slot not in kept
            _draw_arrow(axes, ends, style, shares[source.slot], FAINT if faint else INK)


def _draw_arrow(
    axes: Axes, ends: tuple[tuple[float, float], tuple[float, float]], style: DashStyle, share: float, colour: str
) -> None:
    (x0, y0), (x1, y1) = ends
    half, length = 0.055 + 0.05 * share, 0.055 + 0.045 * share
    bend = 0.55 * (x1 - x0)
    points = [(x0, y0), (x0 + bend, y0), (x1 - bend, y1), (x1 - length, y1)]
    shaft = Curve(points, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
    order = 2 if colour == INK else 1
    axes.add_patch(
        PathPatch(
            shaft,
            fill=False,
            edgecolor=colour,
            linewidth=0.8 + 2.1 * share,
            linestyle=style,
            capstyle="butt",
            zorder=order,
        )
    )
    head = [(x1 - length, y1 - half), (x1, y1), (x1 - length, y1 + half)]
    axes.add_patch(Polygon(head, facecolor=colour, linewidth=0, zorder=order))


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Each weight's magnitude as a share of their sum."""
    total = sum(abs(weight) for weight in weights.values())
    return {name: abs(weight) / total if total else 1 / len(weights) for name, weight in weights.items()}
