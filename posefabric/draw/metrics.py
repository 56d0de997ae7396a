"""Curves of a finished evaluation: precision against recall, and PCK against its threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posefabric.draw.figures import figure_style, save_figure
from posefabric.draw.palette import FAINT, RUN_COLOURS

NAMED_OKS = ("0.50", "0.75", "0.95")
"""The precision curves that have a colour and a name; those between are faint."""

PCK_POINTS = {"PCKh": (0.1, 0.5), "PCK": (0.1, 0.2), "PCK/box": (0.1, 0.2)}
"""The thresholds that are published of each curve."""


def plot_metrics(
    precision: Mapping[str, Sequence[float]],
    pck: tuple[str, Sequence[float], Sequence[float]] | None = None,
    path: Path | None = None,
) -> Figure:
    """Precision at the recalls 0, 0.01, ..., 1 for each OKS (its key), and a PCK curve (name, thresholds, percentages).

    Saved as `.svg` or `.png` where a path is given.
    """
    panels = 1 if pck is None else 2
    with figure_style():
        figure = Figure(figsize=(5.2 * panels, 3.3), layout="constrained")
        _plot_precision(figure.add_subplot(1, panels, 1), precision)
        if pck is not None:
            _plot_pck(figure.add_subplot(1, panels, 2), *pck)
    if path is not None:
        save_figure(figure, path)
    return figure


def _plot_precision(axes: Axes, precision: Mapping[str, Sequence[float]]) -> None:
    axes.set_title("precision", loc="left", fontsize=10)
    axes.set_xlabel("recall")
    for oks, values in precision.items():
        recalls = [place / (len(values) - 1) for place in range(len(values))]
        if oks in NAMED_OKS:
            label = f"{oks}: {sum(values) / len(values):.3f}"
            axes.plot(recalls, values, color=RUN_COLOURS[NAMED_OKS.index(oks)], linewidth=1.8, label=label)
        else:
            axes.plot(recalls, values, color=FAINT, linewidth=0.8, zorder=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), title="OKS: AP", title_fontsize=8)


def _plot_pck(axes: Axes, name: str, thresholds: Sequence[float], percentages: Sequence[float]) -> None:
    axes.set_title(f"{name}, %", loc="left", fontsize=10)
    axes.set_xlabel(f"threshold, times the {'head' if name == 'PCKh' else 'box' if name == 'PCK/box' else 'torso'}")
    axes.plot(thresholds, percentages, color=RUN_COLOURS[0], linewidth=1.8)
    for point in PCK_POINTS.get(name, ()):
        value = percentages[min(range(len(thresholds)), key=lambda place: abs(thresholds[place] - point))]
        axes.plot([point], [value], "o", color=RUN_COLOURS[0], markersize=4.5)
        axes.annotate(f"{value:.1f} at {point}", (point, value), (6, -11), textcoords="offset points", fontsize=8)
    axes.set_xlim(0, max(thresholds) * 1.02)
    axes.set_ylim(0, 102)
