"""What all matplotlib figures share: type, saving, and the SVG text a report inlines."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from posefabric.draw.palette import FAINT, INK, MUTED
from posefabric.errors import UserError

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "posefabric",
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@contextmanager
def figure_style() -> Iterator[None]:
    """Figures made inside share one look; the user's own matplotlib settings are untouched."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as `.svg` or `.png` (150 dpi). Raises `UserError("bad-value")` for other suffixes."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise UserError("bad-value", f"the picture's name is {path.name}", "a name ending in .svg or .png")
    vector = path.suffix.lower() == ".svg"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with figure_style():
            figure.savefig(path, dpi=150, metadata=_NO_METADATA if vector else None)
    except OSError as error:
        raise UserError("not-writable", f"{path}: {error.strerror}") from error


def svg_text(figure: Figure, prefix: str) -> str:
    """A figure as an `<svg>` element for HTML: ids made unique by `prefix`, no background."""
    buffer = io.StringIO()
    with figure_style():
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
