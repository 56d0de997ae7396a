"""Skeletons: which keypoints a body has, how they mirror, which limbs join them, and which keypoints form a part.

Where it stands in the walk: before everything. A skeleton is data; records, crops, architectures and metrics carry it.
Prior knowledge of the body enters the search here and only here, as *partitions* (PNFS section III-C, table I).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posefabric import documents
from posefabric.documents import STRICT
from posefabric.errors import UserError, suggestion, unknown_name
from posefabric.texts import read_yaml

Partition = Mapping[str, tuple[str, ...]]
"""Part name -> names of its keypoints. Parts may share keypoints (P=8 does) and must cover all of them."""

DEFAULT_SIGMA = 0.079
"""OKS sigma of a keypoint nobody measured: that of COCO's shoulder."""


@dataclass(frozen=True)
class Skeleton:
    """The keypoints of one kind of body.

    `mirror_pairs`, `limbs` and `partitions` speak in keypoint names. `sigmas` are the per-keypoint constants of OKS
    (COCO keypoint evaluation), one per keypoint, > 0. Contradictions raise `UserError("bad-skeleton")`.
    """

    keypoints: tuple[str, ...]
    name: str = "custom"
    mirror_pairs: tuple[tuple[str, str], ...] = ()
    limbs: tuple[tuple[str, str], ...] = ()
    sigmas: tuple[float, ...] = ()
    partitions: Mapping[str, Partition] = field(default_factory=dict)

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if not self.sigmas:
            object.__setattr__(self, "sigmas", (DEFAULT_SIGMA,) * len(self.keypoints))
        if "1" not in self.partitions:
            whole = {"1": {"all": tuple(self.keypoints)}}
            object.__setattr__(self, "partitions", {**whole, **self.partitions})
        _check_keypoints(self)
        _check_pairs(self)
        for name, partition in self.partitions.items():
            check_partition(self, partition, f"partitions.{name}")

    @property
    def num_keypoints(self) -> int:
        return len(self.keypoints)

    def index(self, keypoint: str) -> int:
        """Position of a keypoint; an unknown name raises `UserError`."""
        if keypoint not in self.keypoints:
            raise unknown_name(f"keypoint of skeleton {self.name}", keypoint, self.keypoints)
        return self.keypoints.index(keypoint)

    @property
    def flip_permutation(self) -> tuple[int, ...]:
        """`keypoints[flip_permutation]` are the keypoints of the mirrored image; an involution."""
        order = list(range(self.num_keypoints))
        for left, right in self.mirror_pairs:
            i, j = self.keypoints.index(left), self.keypoints.index(right)
            order[i], order[j] = j, i
        return tuple(order)

    @property
    def limb_indices(self) -> tuple[tuple[int, int], ...]:
        return tuple((self.keypoints.index(a), self.keypoints.index(b)) for a, b in self.limbs)

    def partition(self, name: str) -> Partition:
        """The partition of that name (`"1"`, `"3"`, `"5"`, `"8"` or the user's own)."""
        if name not in self.partitions:
            raise unknown_name(f"partition of skeleton {self.name}", name, tuple(self.partitions))
        return self.partitions[name]


def read_skeleton(path: str | Path) -> Skeleton:
    """Read a user's skeleton YAML: `keypoints`, and optionally `name mirror_pairs limbs sigmas partitions`."""
    return skeleton_from_data(read_yaml(Path(path), code="bad-skeleton"), where=str(path))


def skeleton_from_data(data: Any, where: str) -> Skeleton:
    """A skeleton from plain data: the name of a built-in one, or a mapping of the fields of `Skeleton`."""
    if isinstance(data, str):
        return named_skeleton(data)
    return documents.from_data(Skeleton, data, code="bad-skeleton", where=where)


def named_skeleton(name: str) -> Skeleton:
    """A skeleton of `SKELETONS` by name."""
    if name not in SKELETONS:
        raise unknown_name("skeleton", name, tuple(SKELETONS))
    return SKELETONS[name]


def check_partition(skeleton: Skeleton, partition: Partition, where: str) -> None:
    """A partition names known keypoints, covers all of them, and no part is empty or lists one twice."""
    covered: set[str] = set()
    for part, names in partition.items():
        if not names:
            raise _bad(f"{where}.{part}", "is empty", "at least one keypoint name")
        if len(set(names)) != len(names):
            raise _bad(f"{where}.{part}", "lists a keypoint twice", "each keypoint once per part")
        for name in names:
            _check_known(skeleton, name, f"{where}.{part}")
        covered.update(names)
    missing = [name for name in skeleton.keypoints if name not in covered]
    if missing:
        raise _bad(where, f"leaves out {', '.join(missing)}", "every keypoint in at least one part")


def _bad(where: str, found: str, allowed: str) -> UserError:
    return UserError("bad-skeleton", f"{where} {found}", allowed)


def _check_known(skeleton: Skeleton, name: str, where: str) -> None:
    if name not in skeleton.keypoints:
        hint = suggestion(name, skeleton.keypoints)
        raise _bad(where, f"names the unknown keypoint '{name}'{hint}", ", ".join(skeleton.keypoints))


def _check_keypoints(skeleton: Skeleton) -> None:
    if not skeleton.keypoints:
        raise _bad("keypoints", "is empty", "at least one keypoint name")
    if len(set(skeleton.keypoints)) != len(skeleton.keypoints):
        raise _bad("keypoints", "lists a name twice", "distinct names")
    if len(skeleton.sigmas) != skeleton.num_keypoints:
        raise _bad("sigmas", f"has {len(skeleton.sigmas)} entries", f"{skeleton.num_keypoints}, one a keypoint")
    if not all(math.isfinite(sigma) and sigma > 0 for sigma in skeleton.sigmas):
        raise _bad("sigmas", f"holds {min(skeleton.sigmas)}", "finite numbers above 0")


def _check_pairs(skeleton: Skeleton) -> None:
    for label, pairs in (("mirror_pairs", skeleton.mirror_pairs), ("limbs", skeleton.limbs)):
        for first, second in pairs:
            _check_known(skeleton, first, label)
            _check_known(skeleton, second, label)
            if first == second:
                raise _bad(label, f"pairs '{first}' with itself", "two different keypoints")
    mirrored = [name for pair in skeleton.mirror_pairs for name in pair]
    if len(set(mirrored)) != len(mirrored):
        raise _bad("mirror_pairs", "uses a keypoint in two pairs", "each keypoint in at most one pair")


def _sides(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"left_{name}", f"right_{name}") for name in names)


def _both(*names: str) -> tuple[str, ...]:
    return tuple(side for pair in _sides(*names) for side in pair)


def _body_partitions(head: tuple[str, ...], pelvis: tuple[str, ...]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Table I of the paper for a body whose head keypoints are `head`; `pelvis` joins hips and thighs (MPII)."""
    arms, legs = _both("shoulder", "elbow", "wrist"), _both("hip", "knee", "ankle")
    head_shoulder = (*head, *_both("shoulder"))
    return {
        "1": {"all": (*head, *arms, *legs, *pelvis)},
        "3": {"head": head, "upper_limb": arms, "lower_limb": (*legs, *pelvis)},
        "5": {
            "head_shoulder": head_shoulder,
            "left_lower_arm": ("left_elbow", "left_wrist"),
            "right_lower_arm": ("right_elbow", "right_wrist"),
            "thigh": (*_both("hip"), *pelvis),
            "lower_limb": _both("knee", "ankle"),
        },
        "8": {
            "head_shoulder": head_shoulder,
            "left_upper_arm": ("left_shoulder", "left_elbow"),
            "left_lower_arm": ("left_elbow", "left_wrist"),
            "right_upper_arm": ("right_shoulder", "right_elbow"),
            "right_lower_arm": ("right_elbow", "right_wrist"),
            "thigh": (*_both("hip", "knee"), *pelvis),
            "left_lower_leg": ("left_knee", "left_ankle"),
            "right_lower_leg": ("right_knee", "right_ankle"),
        },
    }


_COCO_HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
_LIMB_NAMES = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_ARMS_AND_LEGS = tuple(
    (f"{side}_{a}", f"{side}_{b}")
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
    for side in ("left", "right")
)
_TORSO = (
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
)
_COCO_SIGMAS = {
    **dict.fromkeys(("nose",), 0.026),
    **dict.fromkeys(_both("eye"), 0.025),
    **dict.fromkeys(_both("ear"), 0.035),
    **dict.fromkeys(_both("shoulder"), 0.079),
    **dict.fromkeys(_both("elbow"), 0.072),
    **dict.fromkeys(_both("wrist"), 0.062),
    **dict.fromkeys(_both("hip"), 0.107),
    **dict.fromkeys(_both("knee"), 0.087),
    **dict.fromkeys(_both("ankle"), 0.089),
    "pelvis": 0.107,
}
"""COCO's published constants; the pelvis takes the hips', other MPII and LSP keypoints `DEFAULT_SIGMA` (our choice)."""


def _sigmas(keypoints: tuple[str, ...]) -> tuple[float, ...]:
    return tuple(_COCO_SIGMAS.get(name, DEFAULT_SIGMA) for name in keypoints)


_COCO17 = (*_COCO_HEAD, *_both(*_LIMB_NAMES))
_MPII16 = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax",
    "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow",
    "left_wrist",
)  # fmt: skip
_LSP14 = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top",
)  # fmt: skip

COCO17 = Skeleton(
    name="coco17",
    keypoints=_COCO17,
    mirror_pairs=_sides("eye", "ear", *_LIMB_NAMES),
    limbs=(
        *_ARMS_AND_LEGS,
        *_TORSO,
        ("nose", "left_eye"),
        ("nose", "right_eye"),
        ("left_eye", "left_ear"),
        ("right_eye", "right_ear"),
        ("left_ear", "left_shoulder"),
        ("right_ear", "right_shoulder"),
    ),
    sigmas=_sigmas(_COCO17),
    partitions=_body_partitions(_COCO_HEAD, ()),
)
"""COCO's 17 person keypoints in COCO's order."""

MPII16 = Skeleton(
    name="mpii16",
    keypoints=_MPII16,
    mirror_pairs=_sides(*_LIMB_NAMES),
    limbs=(
        *_ARMS_AND_LEGS,
        ("head_top", "upper_neck"),
        ("upper_neck", "thorax"),
        ("thorax", "left_shoulder"),
        ("thorax", "right_shoulder"),
        ("thorax", "pelvis"),
        ("pelvis", "left_hip"),
        ("pelvis", "right_hip"),
    ),
    sigmas=_sigmas(_MPII16),
    partitions=_body_partitions(("head_top", "upper_neck", "thorax"), ("pelvis",)),
)
"""MPII's 16 keypoints in MPII's own order (not the authors' re-ordering)."""

LSP14 = Skeleton(
    name="lsp14",
    keypoints=_LSP14,
    mirror_pairs=_sides(*_LIMB_NAMES),
    limbs=(
        *_ARMS_AND_LEGS,
        ("head_top", "neck"),
        ("neck", "left_shoulder"),
        ("neck", "right_shoulder"),
        ("left_shoulder", "left_hip"),
        ("right_shoulder", "right_hip"),
        ("left_hip", "right_hip"),
    ),
    sigmas=_sigmas(_LSP14),
    partitions=_body_partitions(("head_top", "neck"), ()),
)
"""The 14 keypoints of Leeds Sports Pose; partitions by analogy with MPII's."""

SKELETONS: dict[str, Skeleton] = {skeleton.name: skeleton for skeleton in (COCO17, MPII16, LSP14)}
