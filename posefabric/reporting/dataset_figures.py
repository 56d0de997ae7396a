"""The drawings of a dataset's page: where keypoints lie, how large boxes are, how the body is grouped into parts."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from posefabric.data.guesses.placement import Places, typical
from posefabric.data.records import PersonRecord
from posefabric.draw.body import draw_body, stands
from posefabric.draw.figures import figure_style
from posefabric.draw.palette import RUN_COLOURS, part_colour
from posefabric.draw.people import limb_side
from posefabric.reporting.dataset_pictures import percent
from posefabric.reporting.markup import Html, element
from posefabric.reporting.sections import drawing, section
from posefabric.skeletons import Partition, Skeleton

HEAT_BINS, HEAT_REACH = 48, 0.6
"""Heat is counted in this many bins a side, up to this far from the box's centre (its edges are at 0.5)."""

MANY = 40
"""From more keypoints than this on, pictures of each are smaller and pictures of the body larger."""

_HEAT_COLOURS = {"left": (224, 112, 0), "right": (30, 120, 200), "middle": (122, 136, 150)}  # RGB, on light and dark


def heat(skeleton: Skeleton, places: Places) -> Html:
    """A small picture for every keypoint: how often it lies where, relative to the person's box."""
    figures = []
    for k, name in enumerate(skeleton.keypoints):
        points = places[np.isfinite(places[:, k]).all(axis=1), k]
        field = element("span", _heat_image(points, limb_side(skeleton, (name,)), name), class_="field")
        caption = element("figcaption", name.replace("_", " "), element("span", f"{len(points):,}", class_="aside"))
        figures.append(element("figure", field, caption))
    few = "heat" if skeleton.num_keypoints <= MANY else "heat many"
    lead = (
        "Where each keypoint lies in the persons' boxes, stronger where more often. The dashed square is as wide "
        "as the longer side of the box. A keypoint that is often where it cannot be is mislabelled or out of order. "
        "Beside each name: how many persons have it."
    )
    return section("Where keypoints lie", element("div", *figures, class_=few), lead=lead)


def _heat_image(points: Float[np.ndarray, "N 2"], side: str, name: str) -> Html:
    if not len(points):
        return element("span", "never labelled", class_="note")
    edges = np.linspace(-HEAT_REACH, HEAT_REACH, HEAT_BINS + 1)
    counts, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=(edges, edges))
    smooth = cv2.GaussianBlur(counts, (0, 0), 1.2)
    opacity = (255 * (smooth / max(smooth.max(), 1e-9)) ** 0.6).round().astype(np.uint8)
    red, green, blue = _HEAT_COLOURS[side]
    picture = np.empty((HEAT_BINS, HEAT_BINS, 4), np.uint8)
    picture[:] = (blue, green, red, 0)
    picture[..., 3] = opacity
    _, png = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    uri = "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()
    x, y = np.median(points, axis=0)
    return element("img", src=uri, alt=f"Heat of {name}; median place {x:+.2f}, {y:+.2f}", loading="lazy")


def box_sizes(persons: Sequence[PersonRecord], input_hw: tuple[int, int], margin: float) -> Html:
    """Distributions of the boxes' longer sides and shapes, against the crop that a network sees."""
    if not persons:
        return section("Box sizes", note="Nobody is labelled.")
    sides = np.maximum([person.bbox_xyxy[2:] - person.bbox_xyxy[:2] for person in persons], 1.0)
    longer, shape = sides.max(axis=1), sides[:, 0] / sides[:, 1]
    low, middle, high = np.percentile(longer, (5, 50, 95))
    fitting = _full_size(input_hw, margin, float(np.median(shape)))
    lead = (
        f"The longer side of a box is {middle:.0f} px in the median, {low:.0f} to {high:.0f} px in nine of ten. "
        f"Width by height is {np.median(shape):.2f} in the median. In crops {input_hw[0]} px high and "
        f"{input_hw[1]} px wide, persons larger than about {fitting:.0f} px are shrunk "
        f"({percent(float((longer > fitting).mean()))}), smaller ones are enlarged."
    )
    figures = (
        drawing(_histogram(longer, "longer side of the box, px", fitting), "longer", "Histogram of the longer sides"),
        drawing(_histogram(shape, "width / height of the box", None), "shape", "Histogram of width by height"),
    )
    return section("Box sizes", element("div", *figures, class_="pairs"), lead=lead)


def _full_size(input_hw: tuple[int, int], margin: float, shape: float) -> float:
    """The longer side of a box of that shape (width / height) which fills its crop at the image's own resolution."""
    height = min(input_hw[0], input_hw[1] / shape) / margin
    return height * max(1.0, shape)


def _histogram(values: Float[np.ndarray, " N"], label: str, mark: float | None) -> Figure:
    low, high = np.log2(values.min()) - 0.05, np.log2(values.max()) + 0.05
    few_octaves = high - low < 2  # powers of two would mark one place of the axis, or none
    edges = np.linspace(2**low, 2**high, 33) if few_octaves else np.exp2(np.linspace(low, high, 33))
    with figure_style():
        figure = Figure(figsize=(4.6, 2.6), layout="constrained")
        axes = figure.add_subplot()
        axes.hist(values, bins=list(edges), color=RUN_COLOURS[0])
        if not few_octaves:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
        axes.set_ylabel("persons")
        if mark is not None:
            axes.axvline(mark, color=RUN_COLOURS[1], linestyle="--", label="fills the crop")
            axes.legend(fontsize=8)
    return figure


def parts(skeleton: Skeleton, places: Places) -> Html:
    """Every part grouping beside the body."""
    named = {name: partition for name, partition in skeleton.partitions.items() if name != "1"}
    if not named:
        note = "The skeleton has no part groupings but the whole body; `posefabric data init` suggests some."
        return section("Parts", note=note)
    points = None if stands(skeleton) else typical(places) * (1, -1)
    blocks = [_grouping(skeleton, name, partition, points) for name, partition in named.items()]
    lead = (
        "Groupings of the keypoints, to be named by --parts: in a search, every part gets a fabric of its own. "
        f"{'The body is seen from the front.' if points is None else 'The body is that of one of the persons.'}"
    )
    return section("Parts", element("div", *blocks, class_="pairs parts"), lead=lead)


def _grouping(skeleton: Skeleton, name: str, partition: Partition, points: Float[np.ndarray, "K 2"] | None) -> Html:
    with figure_style():
        figure = Figure(figsize=(3.0, 3.4) if skeleton.num_keypoints <= MANY else (5.2, 5.2))
        axes = figure.add_axes((0, 0, 1, 1), frameon=False)
        axes.grid(False)
        draw_body(axes, skeleton, partition, points)
    items = [
        element("li", element("b", part.replace("_", " ")), ": ", _listed(keypoints), style=f"--part:{part_colour(i)}")
        for i, (part, keypoints) in enumerate(partition.items())
    ]
    picture = drawing(figure, f"parts-{_key(name)}", f"Body with the parts of {name}")
    wide = "wide" if skeleton.num_keypoints > MANY else None
    return element("div", element("h4", name), picture, element("ol", *items), class_=wide)


def _listed(keypoints: Sequence[str]) -> str:
    names = [name.replace("_", " ") for name in keypoints]
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:6])} and {len(names) - 6} more"


def _key(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
