"""Part groupings: which keypoints share a fabric, found in the skeleton's graph, learned from the data, or at random.

Where it stands in the walk: before it; `data init` writes them as partitions of a skeleton. All three ways end alike:
keypoints are nodes, an affinity joins them, and spectral clustering (Ng, Jordan and Weiss, 2001) cuts them into parts.
Partitions are closed under mirroring: a part's mirror image is a part, itself or another.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.cluster.vq import kmeans2
from scipy.sparse.csgraph import minimum_spanning_tree, shortest_path

from posefabric.data.guesses.placement import Distances, Places, mean_distances
from posefabric.data.naming import name_parts
from posefabric.skeletons import Skeleton

Affinity = Float[np.ndarray, "K K"]
Labels = Int[np.ndarray, " K"]
Parts = dict[str, tuple[str, ...]]

MIN_PERSONS = 200
"""Persons needed to learn a grouping; with fewer, the parts often differ from those of thousands (`LOG.md`)."""

MIN_TOGETHER = 20
"""Persons who must have both keypoints before their dependence is measured; below, it counts as none."""

BACKGROUND = 1e-3
"""Affinity added between all keypoints, relative to the mean: nothing is ever wholly apart (regularised clustering)."""


def spanning_limbs(distances: Distances) -> tuple[tuple[int, int], ...]:
    """A guess of the limbs: the tree that joins all keypoints by the smallest sum of mean distances."""
    return _tree(_finite(distances))


def by_graph(skeleton: Skeleton, places: Places, count: int) -> Parts:
    """Parts of the skeleton's graph: keypoints are as near as few limbs join them (affinity exp(-number of limbs)).

    Pieces of a graph that no limb joins are first joined where they are nearest on the persons (`places`), by a link
    that counts as one limb and its length in limbs; without persons, neighbours in the list of keypoints are near.
    """
    distances = mean_distances(places)
    if not len(places):
        order = np.arange(skeleton.num_keypoints)
        distances = np.abs(order[:, None] - order).astype(np.float64)
    distances = _finite(distances)
    bridges = _bridges(skeleton, distances)
    unit = np.mean([distances[pair] for pair in skeleton.limb_indices or bridges or ((0, 0),)]) + 1e-9
    edges = np.zeros_like(distances)
    for pair in bridges:
        edges[pair] = 1 + distances[pair] / unit
    for pair in skeleton.limb_indices:
        edges[pair] = 1
    hops = shortest_path(edges, directed=False)
    return _cut(skeleton, np.exp(-hops), count)


def learned(skeleton: Skeleton, places: Places, count: int) -> Parts:
    """Parts of keypoints that depend on each other in the data (`dependence`); `MIN_PERSONS` persons are needed.

    Dependence is the mutual information of two keypoints' places in the person's box, as in part-based branching
    (Tang and Wu, CVPR 2019).
    """
    assert len(places) >= MIN_PERSONS
    return _cut(skeleton, dependence(places), count)


def at_random(skeleton: Skeleton, count: int, seed: int = 0) -> Parts:
    """A control: parts of nearly equal size by chance; mirror pairs stay together."""
    orbits = _orbits(skeleton)
    order = np.random.default_rng(seed).permutation(len(orbits))
    labels = np.zeros(skeleton.num_keypoints, dtype=np.int64)
    sizes = np.zeros(_possible(orbits, count), dtype=np.int64)
    for orbit in (orbits[int(i)] for i in order):
        part = int(sizes.argmin())
        labels[list(orbit)] = part
        sizes[part] += len(orbit)
    return _named(skeleton, labels)


def dependence(places: Places) -> Affinity:
    """How much one keypoint's place tells of another's, 0 (nothing) to 1 (all).

    The mutual information I of the two (x, y), for Gaussian places: half the log of det A det B / det AB, of the
    covariances over the persons who have both. A closed form: no bins to choose, defined from a few dozen persons, the
    same under any scaling. Its bias for n persons, 2 / n nats, is taken off. Linfoot's 1 - exp(-2 I) brings it to
    0 ... 1, so that a few nearly coinciding keypoints (eyes) do not outweigh the rest.
    """
    number, joint = _covariances(places)
    own, other, both = (np.linalg.slogdet(block)[1] for block in (joint[..., :2, :2], joint[..., 2:, 2:], joint))
    information = np.maximum((own + other - both) / 2 - 2 / np.maximum(number, 1), 0)
    affinity = np.where(number >= MIN_TOGETHER, 1 - np.exp(-2 * information), 0)
    np.fill_diagonal(affinity, 0)
    symmetric: Affinity = (affinity + affinity.T) / 2
    return symmetric


def _covariances(places: Places) -> tuple[Float[np.ndarray, "K K"], Float[np.ndarray, "K K 4 4"]]:
    """For every two keypoints: how many persons have both, and the covariance of the two (x, y) over these."""
    seen = np.isfinite(places).all(axis=2)
    values = np.where(seen[..., None], places, 0)
    mask = seen.astype(np.float64)
    number = mask.T @ mask
    divisor = np.maximum(number, 1)[..., None, None]
    mean = np.tensordot(values, mask, (0, 0)).transpose(0, 2, 1) / divisor[..., 0]  # [i, j]: of i over those who have j
    squares = np.einsum("nka,nkb->nkab", values, values)
    own = np.tensordot(squares, mask, (0, 0)).transpose(0, 3, 1, 2) / divisor
    cross = np.tensordot(values, values, (0, 0)).transpose(0, 2, 1, 3) / divisor
    own = own - mean[..., :, None] * mean[..., None, :]
    cross = cross - mean[..., :, None] * mean.swapaxes(0, 1)[..., None, :]
    joint = np.empty((*number.shape, 4, 4))
    joint[..., :2, :2], joint[..., 2:, 2:] = own, own.swapaxes(0, 1)
    joint[..., :2, 2:], joint[..., 2:, :2] = cross, cross.swapaxes(-1, -2)
    return number, joint + 1e-8 * np.eye(4)


def _cut(skeleton: Skeleton, affinity: Affinity, count: int) -> Parts:
    """The mirror-closed partition into `count` parts (fewer, if there are not as many) of least normalised cut.

    Pairs are clustered as one node into `count` or fewer clusters; of these, some that hold whole pairs only are
    split into their left and their right, so that there are `count` parts again. Every such choice is tried.
    """
    order = list(skeleton.flip_permutation)
    affinity = (affinity + affinity[np.ix_(order, order)]) / 2
    np.fill_diagonal(affinity, 0)
    affinity = affinity + BACKGROUND * max(float(affinity.mean()), 1e-9) * (1 - np.eye(len(affinity)))
    orbits = _orbits(skeleton)
    best, least = np.zeros(len(order), dtype=np.int64), np.inf
    for labels in _closed_candidates(affinity, orbits, _possible(orbits, count)):
        cut = _normalised_cut(affinity, labels)
        if cut < least - 1e-9:
            best, least = labels, cut
    return _named(skeleton, best)


def _closed_candidates(affinity: Affinity, orbits: Sequence[tuple[int, ...]], count: int) -> Iterator[Labels]:
    members = np.zeros((len(orbits), len(affinity)))
    for row, orbit in zip(members, orbits, strict=True):
        row[list(orbit)] = 1
    fused = members @ affinity @ members.T
    for clusters in range((count + 1) // 2, min(count, len(orbits)) + 1):
        for orbit_labels in _spectral(fused, clusters):
            labels = (orbit_labels[:, None] * members).sum(axis=0).astype(np.int64)
            mixed = {int(label) for label, orbit in zip(orbit_labels, orbits, strict=True) if len(orbit) == 1}
            paired = [cluster for cluster in range(clusters) if cluster not in mixed]
            for halved in itertools.combinations(paired, count - clusters):
                yield _halve(labels, orbits, halved)


def _halve(labels: Labels, orbits: Sequence[tuple[int, ...]], halved: Sequence[int]) -> Labels:
    """The right keypoints of some clusters as parts of their own."""
    split = labels.copy()
    for new, cluster in enumerate(halved, start=int(labels.max()) + 1):
        split[[orbit[1] for orbit in orbits if len(orbit) == 2 and labels[orbit[1]] == cluster]] = new
    return split


def _spectral(affinity: Affinity, count: int) -> Iterator[Labels]:
    """Clusterings into `count`, one for each node that the search for starting points may begin with."""
    if count == 1:
        yield np.zeros(len(affinity), dtype=np.int64)
        return
    degree = affinity.sum(axis=1)
    scale = 1 / np.sqrt(degree)
    _, vectors = np.linalg.eigh(scale[:, None] * affinity * scale)
    rows = vectors[:, -count:]
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    for first in range(len(rows)):
        chosen = [first]
        while len(chosen) < count:
            apart = np.linalg.norm(rows[:, None] - rows[chosen], axis=2).min(axis=1)
            chosen.append(int(apart.argmax()))
        _, labels = kmeans2(rows, rows[chosen], minit="matrix", missing="warn")
        if len(np.unique(labels)) == count:
            yield labels.astype(np.int64)


def _normalised_cut(affinity: Affinity, labels: Labels) -> float:
    """The sum over parts of the affinity that leaves a part, relative to all it has (Shi and Malik, 2000)."""
    total = 0.0
    for part in np.unique(labels):
        inside: Bool[np.ndarray, " K"] = labels == part
        volume = float(affinity[inside].sum())
        total += float(affinity[inside][:, ~inside].sum()) / volume if volume > 0 else 1.0
    return total


def _orbits(skeleton: Skeleton) -> list[tuple[int, ...]]:
    """Mirror pairs (left, right) and single keypoints, in the skeleton's order."""
    pairs = [(skeleton.index(left), skeleton.index(right)) for left, right in skeleton.mirror_pairs]
    paired = {k for pair in pairs for k in pair}
    return sorted([*pairs, *((k,) for k in range(skeleton.num_keypoints) if k not in paired)], key=min)


def _possible(orbits: Sequence[tuple[int, ...]], count: int) -> int:
    return max(1, min(count, sum(map(len, orbits))))


def _named(skeleton: Skeleton, labels: Labels) -> Parts:
    """Parts in the order of their first keypoints."""
    groups = [
        tuple(name for name, label in zip(skeleton.keypoints, labels, strict=True) if label == part)
        for part in dict.fromkeys(labels.tolist())
    ]
    return dict(zip(name_parts(groups), groups, strict=True))


def _bridges(skeleton: Skeleton, distances: Distances) -> tuple[tuple[int, int], ...]:
    """The shortest edges that join what the limbs leave apart."""
    costs = 1 + distances
    for i, j in skeleton.limb_indices:
        costs[i, j] = costs[j, i] = 1e-6
    limbs = {frozenset(limb) for limb in skeleton.limb_indices}
    return tuple(pair for pair in _tree(costs) if frozenset(pair) not in limbs)


def _tree(costs: Distances) -> tuple[tuple[int, int], ...]:
    positive = np.maximum(costs, 1e-9)  # a sparse graph takes 0 for no edge
    tree = minimum_spanning_tree(np.triu(positive, 1)).tocoo()
    return tuple(sorted((int(i), int(j)) for i, j in zip(tree.row, tree.col, strict=True)))


def _finite(distances: Distances) -> Distances:
    """Distances nobody measured count as farther than all others, nearer in the list first."""
    known = np.isfinite(distances)
    order = np.arange(len(distances))
    farther = distances[known].max(initial=0) + 1 + np.abs(order[:, None] - order)
    return np.where(known, distances, farther)
