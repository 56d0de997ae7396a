"""Pictures: people on photographs, the searched fabrics beside the body, learning curves.

Where it stands in the walk: beside it. Everything here reads plain values (pixels, keypoints, architectures,
logged rows) and makes an image or a matplotlib figure. numpy, OpenCV and matplotlib; no torch.
"""

from posefabric.draw.curves import plot_curves
from posefabric.draw.fabrics import draw_fabrics
from posefabric.draw.figures import save_figure, svg_text
from posefabric.draw.handmade import draw_handmade, draw_net
from posefabric.draw.metrics import plot_metrics
from posefabric.draw.people import contact_sheet, draw_labels, draw_people
from posefabric.draw.search import draw_frames, plot_search

__all__ = [
    "contact_sheet",
    "draw_fabrics",
    "draw_frames",
    "draw_handmade",
    "draw_labels",
    "draw_net",
    "draw_people",
    "plot_curves",
    "plot_metrics",
    "plot_search",
    "save_figure",
    "svg_text",
]
