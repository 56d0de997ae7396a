"""What the authors call the modules of a net, beside what we call them.

Theirs: per part attribute `cell_{layer}_{scale}` with `propress_list.{slot}`, `cell_arch.{edge}.ops.{operation}` and
`channel_keep`; `reduce.{part}.{level}`, `final_layer.1`, and for the architecture `alphas` and `betas`. A backbone that
is a fabric is named like a part, `backbone`; others are in `backbones`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from posefabric.architecture import Architecture
from posefabric.backbone import BACKBONE
from posefabric.released.backbones import named_modules
from posefabric.skeletons import MPII16, Skeleton
from posefabric.space import SearchSpace

THEIR_OPERATIONS = {
    "Zero": "zero",
    "skip_connect": "skip_connect",
    "Sep_Conv_3x3": "sep_conv_3x3",
    "Atr_Conv_3x3": "dil_conv_3x3",
    "avg_pool_3x3": "avg_pool_3x3",
    "max_pool_3x3": "max_pool_3x3",
}

THEIR_MPII_KEYPOINTS = tuple(MPII16.keypoints[i] for i in (9, 8, 7, 13, 12, 14, 11, 15, 10, 3, 2, 4, 1, 5, 0, 6))
"""MPII's keypoints in the order the authors re-sorted them to."""

THEIR_PARTS: dict[str, dict[str, str]] = {
    "1": {"all": "whole_body"},
    "3": {"upper_limb": "upper_limb_part", "head": "head_part", "lower_limb": "lower_limb_part"},
    "5": {
        "left_lower_arm": "left_arm_part",
        "right_lower_arm": "right_arm_part",
        "lower_limb": "legs_part",
        "head_shoulder": "head_shoulder_part",
        "thigh": "hips_part",
    },
    "8": {
        "left_upper_arm": "left_upper_arm_part",
        "right_upper_arm": "right_upper_arm_part",
        "left_lower_arm": "left_lower_arm_part",
        "right_lower_arm": "right_lower_arm_part",
        "left_lower_leg": "left_lower_leg_part",
        "right_lower_leg": "right_lower_leg_part",
        "head_shoulder": "head_shoulder_part",
        "thigh": "upper_legs_part",
    },
}
"""Our partition -> our part -> their attribute, in the order in which they number parts in `reduce`."""

_THIGHS = {
    "5": ("pelvis", "left_hip", "right_hip"),
    "8": ("left_hip", "pelvis", "right_hip", "left_knee", "right_knee"),
}
"""Where MPII's pelvis stands in their lists; all other parts list keypoints in the order of the skeleton."""


def keypoint_order(skeleton: Skeleton, partition: str, part: str) -> tuple[str, ...]:
    """The keypoints of a part in the order of their channels in the authors' net."""
    if skeleton == MPII16 and part == "thigh":
        return _THIGHS[partition]
    everyone = THEIR_MPII_KEYPOINTS if skeleton == MPII16 else skeleton.keypoints
    return tuple(name for name in everyone if name in skeleton.partition(partition)[part])


@dataclass(frozen=True)
class Naming:
    """Their names in one net: `parts` gives ours -> theirs, in their order.

    `further_layers`: how much later than ours they begin to count the layers of a head; a lens that is one layer deeper
    has the same last three.
    """

    parts: Mapping[str, str]
    further_layers: int = 0

    def fabrics(self, whole: Architecture) -> dict[str, str]:
        """Our fabrics -> theirs."""
        return {name: self.parts.get(name, BACKBONE) for name in whole.fabrics()}

    def modules(self, whole: Architecture) -> dict[str, str]:
        """Their name -> ours, of every module of a net that holds tensors, whether or not something reads it."""
        return dict(self._modules(whole))

    def _modules(self, whole: Architecture) -> Iterator[tuple[str, str]]:
        if whole.backbone.space is None:
            yield from named_modules(whole.backbone.name)
        else:
            yield "backbone.stem", "backbone.stem"
            yield from _cell_names(whole.backbone.space, "backbone", "backbone.fabric")
        for index, (part, theirs) in enumerate(self.parts.items()):
            for level, stride in enumerate(whole.space.strides):
                yield f"reduce.{index}.{level}", f"parts.{part}.laterals.{stride}"
            yield from _cell_names(whole.space, theirs, f"parts.{part}.fabric", self.further_layers)
            yield f"{theirs}.final_layer.1", f"parts.{part}.head.to_vectors"


def _cell_names(space: SearchSpace, theirs: str, ours: str, further: int = 0) -> Iterator[tuple[str, str]]:
    for site in space.sites():
        cell = f"{theirs}.cell_{site.layer + further}_{space.strides.index(site.stride)}"
        home = f"{ours}.cells.{site.name}"
        for index, source in enumerate(site.sources):
            layers = ("conv_1x1", "bn") if source.stride > site.stride else ("operation.0", "operation.1")
            for number, layer in enumerate(layers):
                yield f"{cell}.propress_list.{index}.{layer}", f"{home}.transitions.{source.slot}.{number}"
        for index, (start, end) in enumerate(space.edges):
            for number, operation in enumerate(space.operations):
                wrapper = ".operation" if operation.endswith("conv_3x3") else ""
                edge = f"{home}.edges.{start}_{end}.{operation}"
                yield f"{cell}.cell_arch.{index}.ops.{number}{wrapper}", edge
        yield f"{cell}.channel_keep", f"{home}.projection"
