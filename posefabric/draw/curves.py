"""Learning curves: the rows of `metrics.jsonl` against the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from posefabric.draw.figures import figure_style, save_figure
from posefabric.draw.palette import RUN_COLOURS

Row = Mapping[str, Any]

HEADLINE_METRICS = ("AP", "PCKh@0.5", "PCK@0.2", "PCK@0.2/box")
"""The metric that stands for a run, the first that is present."""

_PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("loss", ("loss",)),
    ("", HEADLINE_METRICS),
    ("entropy of the mixing weights", ("alpha_entropy", "beta_entropy")),
)


def plot_curves(rows_by_run: Mapping[str, Sequence[Row]], path: Path | None = None) -> Figure:
    """Loss, headline metric and, for searches, entropies against the step; one colour per run.

    Training is a thin line, validation a thick one with dots; alpha is solid and beta dashed. Saved as `.svg`
    or `.png` where a path is given.
    """
    panels = [(title, keys) for title, names in _PANELS if (keys := present(rows_by_run, names))]
    with figure_style():
        figure = Figure(figsize=(4.2 * max(len(panels), 1), 2.9), layout="constrained")
        for i, (title, keys) in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), i + 1)
            axes.set_title(title or keys[0], loc="left", fontsize=10)
            axes.set_xlabel("step")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            _plot(axes, rows_by_run, keys if title else keys[:1])
    if path is not None:
        save_figure(figure, path)
    return figure


def present(rows_by_run: Mapping[str, Sequence[Row]], names: Sequence[str]) -> list[str]:
    """The names under which some row has a finite number."""
    return [name for name in names if any(_finite(row, name) for rows in rows_by_run.values() for row in rows)]


def _plot(axes: Axes, rows_by_run: Mapping[str, Sequence[Row]], keys: Sequence[str]) -> None:
    for index, (run, rows) in enumerate(rows_by_run.items()):
        for order, key in enumerate(keys):
            lines = {split: points for split in _LINES if (points := series(rows, split, key))}
            for split, points in lines.items():
                words = ([run] if len(rows_by_run) > 1 else []) + ([key] if len(keys) > 1 else [_WORDS[split]])
                axes.plot(
                    *zip(*points, strict=True),
                    color=RUN_COLOURS[(index + order) % len(RUN_COLOURS)],
                    linestyle=("-", "--")[order % 2],
                    label=" ".join(words).replace("_", " "),
                    marker="o" if split == "val" or len(points) == 1 else "",
                    **_LINES["val" if len(lines) == 1 else split],
                )
    if axes.lines:
        axes.legend(fontsize=8)


def series(rows: Sequence[Row], split: str, key: str) -> list[tuple[float, float]]:
    """Step and value of every row of a split that has a finite one."""
    return [(row["step"], row[key]) for row in rows if row.get("split") == split and _finite(row, key)]


_WORDS = {"train": "training", "val": "validation"}
_LINES: dict[str, dict[str, Any]] = {
    "train": {"linewidth": 1.1, "alpha": 0.8, "markersize": 3.5},
    "val": {"linewidth": 2.0, "markersize": 3.5},
}


def _finite(row: Row, key: str) -> bool:
    return isinstance(row.get(key), int | float) and math.isfinite(row[key]) and "step" in row
