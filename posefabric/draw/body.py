"""The body figure: where the keypoints of a skeleton stand in a drawing, and its parts in colour."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

from posefabric.draw.palette import FAINT, INK, PAPER, part_colour
from posefabric.skeletons import Partition, Skeleton

_SIDE_POSE = {
    "eye": (0.07, 1.69), "ear": (0.16, 1.66), "shoulder": (0.22, 1.38), "elbow": (0.37, 1.13),
    "wrist": (0.50, 0.89), "hip": (0.14, 0.86), "knee": (0.17, 0.45), "ankle": (0.20, 0.04),
}  # fmt: skip
STANDING_POSE: dict[str, tuple[float, float]] = {
    **{f"left_{name}": (x, y) for name, (x, y) in _SIDE_POSE.items()},
    **{f"right_{name}": (-x, y) for name, (x, y) in _SIDE_POSE.items()},
    "nose": (0.0, 1.62),
    "head_top": (0.0, 1.85),
    "upper_neck": (0.0, 1.53),
    "neck": (0.0, 1.47),
    "thorax": (0.0, 1.39),
    "pelvis": (0.0, 0.90),
}
"""A person who stands and faces the reader, y upwards: the person's left is on the reader's right."""

HEAD_CENTRE, HEAD_SIZE = (0.0, 1.65), (0.32, 0.40)

_CLEARANCE = 0.07
"""Distance of a part's number from keypoints, limbs and other numbers, as a share of the figure's height."""


def body_layout(skeleton: Skeleton) -> Float[np.ndarray, "K 2"]:
    """Positions of the keypoints in a drawing, y upwards: the standing pose, or the limbs' graph laid out."""
    if stands(skeleton):
        return np.array([STANDING_POSE[name] for name in skeleton.keypoints])
    return graph_layout(skeleton.num_keypoints, skeleton.limb_indices)


def stands(skeleton: Skeleton) -> bool:
    """Whether the standing pose knows every keypoint."""
    return all(name in STANDING_POSE for name in skeleton.keypoints)


def graph_layout(count: int, pairs: tuple[tuple[int, int], ...], *, steps: int = 300) -> Float[np.ndarray, "K 2"]:
    """Points whose distances are as near as may be to the numbers of edges between them.

    Stress majorisation (SMACOF; de Leeuw 1977), weighted by 1 / distance squared, from a circle.
    """
    distances = _edge_counts(count, pairs)
    angles = 2 * np.pi * np.arange(count) / max(count, 1)
    points: Float[np.ndarray, "K 2"] = np.stack([np.sin(angles), np.cos(angles)], 1) * distances.max() / 2
    weights = np.where(distances > 0, 1 / np.maximum(distances, 1) ** 2, 0)
    inverse = np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights)
    for _ in range(steps):
        current = np.linalg.norm(points[:, None] - points[None], axis=-1)
        ratios = weights * np.divide(distances, current, out=np.zeros_like(distances), where=current > 1e-9)
        points = inverse @ ((np.diag(ratios.sum(axis=1)) - ratios) @ points)
    return points


def _edge_counts(count: int, pairs: tuple[tuple[int, int], ...]) -> Float[np.ndarray, "K K"]:
    distances = np.full((count, count), np.inf)
    np.fill_diagonal(distances, 0)
    for i, j in pairs:
        distances[i, j] = distances[j, i] = 1
    for via in range(count):
        distances = np.minimum(distances, distances[:, via, None] + distances[None, via])
    apart = distances[np.isfinite(distances)].max() + 1
    return np.where(np.isfinite(distances), distances, apart)


def draw_body(
    axes: Axes, skeleton: Skeleton, partition: Partition, points: Float[np.ndarray, "K 2"] | None = None
) -> None:
    """A stick person whose parts are coloured and numbered in the order of the partition.

    `points` are the keypoints' places, y upwards; by default those of `body_layout`.
    """
    face = _face(skeleton) if points is None else []
    points = body_layout(skeleton) if points is None else points
    size = float(np.ptp(points, axis=0).max()) or 1.0
    if face:
        axes.add_patch(Ellipse((0, 1.65), 0.32, 0.40, facecolor="none", edgecolor=FAINT, linewidth=1.2, zorder=0))
    parts = [{skeleton.index(name) for name in names} for names in partition.values()]
    for pair in skeleton.limb_indices:
        owners = [p for p, members in enumerate(parts) if set(pair) <= members]
        owner = min(owners, key=lambda p: len(parts[p]), default=None)
        colour = FAINT if owner is None else part_colour(owner)
        width = 2.0 if owner is None else 5.0
        axes.plot(*points[list(pair)].T, color=colour, linewidth=width, solid_capstyle="round", zorder=1)
    for k, (x, y) in enumerate(points):
        owners = [p for p, members in enumerate(parts) if k in members]
        for ring, p in enumerate(owners):
            area = 48 * (1 - ring / len(owners)) ** 2
            rim = PAPER if ring == 0 else "none"
            axes.scatter(x, y, s=area, facecolors=part_colour(p), edgecolors=rim, linewidths=0.8, zorder=2 + ring)
    occupied = np.concatenate([points, _along(points, skeleton.limb_indices), *face])
    centres = np.array([points[list(members)].mean(axis=0) for members in parts])
    for p, (x, y) in enumerate(_free_places(centres, occupied, _CLEARANCE * size)):
        draw_number(axes, x, y, p)
    axes.set_aspect("equal", anchor="N")
    axes.margins(0.12, 0.05)
    axes.axis("off")


def draw_number(axes: Axes, x: float, y: float, part: int) -> None:
    """The number of a part, from 1, in a ring of the part's colour."""
    ring = {
        "boxstyle": "circle,pad=0.25",
        "facecolor": PAPER,
        "edgecolor": part_colour(part),
        "linewidth": 1.8,
    }
    axes.text(
        x,
        y,
        str(part + 1),
        ha="center",
        va="center",
        fontsize=8,
        weight="bold",
        color=INK,
        bbox=ring,
        zorder=10,
    )


def _along(points: Float[np.ndarray, "K 2"], pairs: tuple[tuple[int, int], ...]) -> Float[np.ndarray, "N 2"]:
    steps = np.linspace(0, 1, 12)[:, None]
    return np.concatenate([points[:0], *(points[i] * (1 - steps) + points[j] * steps for i, j in pairs)])


def _face(skeleton: Skeleton) -> list[Float[np.ndarray, "N 2"]]:
    if not stands(skeleton):
        return []
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 7)] * 2), axis=-1).reshape(-1, 2)
    return [grid[np.linalg.norm(grid, axis=1) <= 0.5] * HEAD_SIZE + HEAD_CENTRE]


def _free_places(
    wanted: Float[np.ndarray, "P 2"], occupied: Float[np.ndarray, "N 2"], clearance: float
) -> list[tuple[float, float]]:
    """For every wanted place the nearest that keeps its distance from what is drawn and from the others."""
    low, high = occupied.min(axis=0) - 3 * clearance, occupied.max(axis=0) + 3 * clearance
    grid = np.meshgrid(*(np.linspace(a, b, 80) for a, b in zip(low, high, strict=True)))
    places = np.stack(grid, axis=-1).reshape(-1, 2)
    chosen = []
    for place in wanted:
        room = np.linalg.norm(places[:, None] - occupied[None], axis=-1).min(axis=1)
        cost = np.linalg.norm(places - place, axis=1) + 1e3 * np.maximum(clearance - room, 0)
        nearest = places[int(np.argmin(cost))]
        chosen.append((float(nearest[0]), float(nearest[1])))
        occupied = np.concatenate([occupied, nearest[None]])
    return chosen
