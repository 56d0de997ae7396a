"""The pictures of a run inside the page: made small enough, grouped by what their names say."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np

from posefabric.errors import UserError
from posefabric.reporting.markup import Html, element
from posefabric.reporting.reading import RunNotes
from posefabric.reporting.sections import section

GROUPS = ("best", "typical", "worst")
LARGEST_SIDE_PX, JPEG_QUALITY = 1000, 85


def pictures(run: RunNotes, budget_bytes: int) -> Html:
    """The run's pictures as data URIs, as many as fit the budget; what is left out is said."""
    title = "Predictions"
    if not run.pictures:
        return section(title, note="This run holds no pictures.")
    shown: dict[str, list[Html]] = {}
    left_out = 0
    for path in run.pictures:
        uri = _data_uri(path)
        if len(uri) > budget_bytes:
            left_out += 1
            continue
        budget_bytes -= len(uri)
        shown.setdefault(_group(path), []).append(_figure(path, uri))
    order = sorted(shown, key=lambda group: (*GROUPS, "").index(group))
    blocks = [
        element("div", element("h4", group or "other") if group or len(order) > 1 else "", _gallery(shown[group]))
        for group in order
    ]
    note = f"{left_out} more pictures are in the run folder." if left_out else ""
    return section(title, element("div", *blocks, class_="groups"), lead=_WHAT_ONE_SEES, note=note)


_WHAT_ONE_SEES = (
    "Keypoints the network found, joined to skeletons: the person's left is orange, the right blue. "
    "Keypoints it is unsure of are not drawn."
)


def _group(path: Path) -> str:
    return next((group for group in GROUPS if group in path.stem.lower()), "")


def _gallery(figures: list[Html]) -> Html:
    return element("div", *figures, class_="gallery")


def _figure(path: Path, uri: str) -> Html:
    caption = path.stem.replace("_", " ").replace("-", " ")
    image = element("img", src=uri, alt=f"Predicted skeletons, {caption}", loading="lazy")
    return element("figure", image, element("figcaption", caption))


def _data_uri(path: Path) -> str:
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if image is None:
        raise UserError("bad-run", f"{path} is not a picture that can be decoded")
    shrink = min(1.0, LARGEST_SIDE_PX / max(image.shape[:2]))
    if shrink < 1:
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
