"""How a search went, as pictures: its curves, when its decisions changed, and frames of its film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from posefabric.draw.cells import CELL_INCHES, draw_box, draw_feature, draw_inputs, draw_operations, place, set_up
from posefabric.draw.curves import Row, present, series
from posefabric.draw.figures import figure_style, save_figure
from posefabric.draw.palette import FAINT, INK, MUTED, PAPER, RUN_COLOURS
from posefabric.film import FabricFrame, Frame, changes
from posefabric.genotype import CellChoice
from posefabric.space import ZERO, SearchSpace, feature_name

_PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("entropy (1 undecided, 0 decided)", ("alpha_entropy", "beta_entropy", "width_entropy")),
    ("share of alpha", ("skip_share", "zero_share")),
    ("expected MACs", ("expected_macs",)),
)
_WIDTH, _HEIGHT, _ROW = 12.6, 2.7, 0.24
"""Inches: of the figure, of its curves, of a fabric's line."""


def plot_search(
    rows: Sequence[Row], frames: Sequence[Frame], alarm: float | None = None, path: Path | None = None
) -> Figure:
    """Entropies, shares and expected MACs against the step, and below them when decisions about each fabric changed.

    `alarm` is the share of skips that counts as a collapse. Saved as `.svg` or `.png` where a path is given.
    """
    panels = [(title, keys) for title, names in _PANELS if (keys := present({"": rows}, names))]
    lines = _ROW * len(frames[-1].fabrics) + 0.75
    with figure_style():
        figure = Figure(figsize=(_WIDTH, _HEIGHT + lines), layout="constrained")
        grid = figure.add_gridspec(2, len(panels), height_ratios=(_HEIGHT, lines))
        for column, (title, keys) in enumerate(panels):
            axes = figure.add_subplot(grid[0, column])
            axes.set_title(title, loc="left", fontsize=10)
            _plot_lines(axes, rows, keys)
            if "skip_share" in keys and alarm is not None:
                axes.axhline(alarm, color=RUN_COLOURS[1], linestyle=":", linewidth=1.2, label="alarm")
            if "expected_macs" in keys:
                _plot_budget(axes, frames)
            axes.legend(fontsize=8)
        _plot_changes(figure.add_subplot(grid[1, :]), frames)
    if path is not None:
        save_figure(figure, path)
    return figure


def _plot_lines(axes: Axes, rows: Sequence[Row], keys: Sequence[str]) -> None:
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for number, key in enumerate(keys):
        steps = series(rows, "train", key)
        axes.plot(
            *zip(*steps, strict=True),
            color=RUN_COLOURS[2 * number],
            linestyle=("-", "--")[number % 2],
            linewidth=1.5,
            label=key.replace("_", " "),
            marker="o" if len(steps) == 1 else "",
        )


def _plot_budget(axes: Axes, frames: Sequence[Frame]) -> None:
    """The budget, and at validations what would be derived within it."""
    axes.yaxis.set_major_formatter(EngFormatter())
    if frames[-1].budget is not None:
        axes.axhline(frames[-1].budget, color=INK, linestyle="--", linewidth=1.0, label="budget")
    fitted = [(frame.step, frame.macs) for frame in frames if frame.macs is not None]
    if fitted:
        axes.plot(*zip(*fitted, strict=True), "o", color=RUN_COLOURS[1], markersize=3.5, label="derived within it")


def _plot_changes(axes: Axes, frames: Sequence[Frame]) -> None:
    """One line per fabric with a mark wherever something else would have been derived; the last one stands out."""
    last = max(frames[-1].step, 1)
    axes.set_title("when decisions changed", loc="left", fontsize=10)
    axes.grid(False)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for line, steps in enumerate(changes(frames).values()):
        axes.plot((0, last), (line, line), color=FAINT, linewidth=0.8, zorder=1)
        axes.plot(steps, [line] * len(steps), "|", color=MUTED, markersize=8, zorder=2)
        axes.plot(steps[-1:], [line] * len(steps[-1:]), "o", color=INK, markersize=4.5, zorder=3)
        axes.text(1.01 * last, line, f"{len(steps)}", color=MUTED, fontsize=8, va="center", ha="left", clip_on=False)
    names = [name.replace("_", " ") for name in frames[-1].fabrics]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, last)
    axes.tick_params(axis="y", length=0)


def draw_frames(space: SearchSpace, frames: Mapping[str, FabricFrame], colours: Mapping[str, str]) -> Figure:
    """One fabric at several moments beside each other; `frames`: what stands above -> the moment.

    The bars of a cell are the shares of its edges' operations, what `zero` has is blank; an arrow is as wide as its
    input's share. Strong is what would be derived, faint or dotted what would not.
    """
    columns, rows = space.last_layer - space.first_layer + 1, len(space.strides)
    width, height = columns * CELL_INCHES[0], rows * CELL_INCHES[1]
    left, bottom, top, gap = 0.5, 0.35, 0.35, 0.3
    whole = left + len(frames) * width + (len(frames) - 1) * gap, bottom + height + top
    with figure_style():
        figure = Figure(figsize=whole)
        for number, (title, frame) in enumerate(frames.items()):
            start = left + number * (width + gap)
            box = start / whole[0], bottom / whole[1], width / whole[0], height / whole[1]
            axes = figure.add_axes(box, frameon=False)
            axes.set_title(title, loc="left", fontsize=10)
            _draw_frame(axes, space, frame, colours)
            if number:
                axes.set_yticks([])
    return figure


def _draw_frame(axes: Axes, space: SearchSpace, frame: FabricFrame, colours: Mapping[str, str]) -> None:
    axes.grid(False)
    set_up(axes, space)
    read = {
        source.origin
        for site in space.sites()
        if site.name in frame.kept
        for source in site.sources
        if source.slot in frame.kept[site.name].inputs
    }
    for stride in space.input_strides:
        draw_feature(axes, place(space, feature_name(stride)), used=feature_name(stride) in read)
    for site in space.sites():
        kept = frame.kept.get(site.name)
        draw_box(axes, place(space, site.name), kept=kept is not None)
        if site.name in frame.beta:
            choice = CellChoice(frame.beta[site.name], tuple(_blank_last(edge) for edge in frame.edges(site.name)))
            draw_operations(axes, place(space, site.name), choice, {**colours, ZERO: PAPER})
            draw_inputs(axes, space, site, choice, kept.inputs if kept else ())


def _blank_last(edge: Mapping[str, float]) -> dict[str, float]:
    return {name: edge[name] for name in sorted(edge, key=lambda name: name == ZERO)}
