"""The cut space: two parts, two strides, two layers, one input per cell and one operation per part.

The last cell of a part reads a feature or one of the two cells before it, each of which reads one of two features: five
paths, times three operations, for each of two parts: 15 * 15 = 225 architectures.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

from posefabric.architecture import Architecture, supernet
from posefabric.backbone import BACKBONE, fabric_backbone
from posefabric.errors import UserError
from posefabric.genotype import CellChoice, Genotype, prune
from posefabric.skeletons import COCO17, Partition
from posefabric.space import ZERO, SearchSpace

LEGS = tuple(f"{side}_{name}" for name in ("hip", "knee", "ankle") for side in ("left", "right"))
PARTS: Partition = {"upper": tuple(name for name in COCO17.keypoints if name not in LEGS), "lower": LEGS}
STRIDES = (4, 8)
INPUT_HW = (32, 32)

SPACE = SearchSpace(3, 1, 3, base_channels=8, boundary="omit", strides=STRIDES, entries="every")
FEATURES = SearchSpace(2, 0, 1, base_channels=4, operations=("sep_conv_3x3",), boundary="omit", strides=STRIDES)
"""The backbone: one cell per stride, each with one input and one operation, so that nothing is left to choose."""


def cut_supernet() -> Architecture:
    """The architecture that keeps all of the cut space."""
    return supernet(COCO17, PARTS, fabric_backbone(FEATURES), SPACE, INPUT_HW)


def part_genotypes() -> dict[str, Genotype]:
    """Name -> genotype: the 15 that one part may have.

    A name is the strides from the feature to the last cell, then the operation: in `"8-4:sep_conv_3x3"` the last cell
    follows a cell of stride 4 that reads the feature of stride 8; in `"4:skip_connect"` it reads that of stride 4.
    """
    slots = [[(site.name, source.slot) for source in site.sources] for site in SPACE.sites()]
    kept = (
        prune(SPACE, Genotype({site: CellChoice({slot: 1.0}, ({operation: 1.0},)) for site, slot in inputs}))
        for operation in SPACE.operations
        if operation != ZERO
        for inputs in itertools.product(*slots)
    )
    return {_part_name(genotype): genotype for genotype in kept}


@functools.cache
def architectures() -> Mapping[str, Architecture]:
    """Name -> architecture: all 225, in a fixed order.

    A name is that of the upper body's genotype and that of the lower's: `"4-8:sep_conv_3x3/4:skip_connect"`.
    """
    whole, choices = cut_supernet(), part_genotypes()
    rest = {BACKBONE: whole.fabrics()[BACKBONE][1]}
    return {
        "/".join(names): whole.with_genotypes(
            {part: choices[name] for part, name in zip(PARTS, names, strict=True)} | rest
        )
        for names in itertools.product(choices, repeat=len(PARTS))
    }


def name_of(architecture: Architecture) -> str:
    """What the table calls an architecture.

    Raises `UserError("bad-architecture")` for what is not of the cut space as `argmax` with one input derives it: other
    spaces and sizes, more than one input or operation, multipliers other than 1.
    """
    for name, known in architectures().items():
        if known == architecture:
            return name
    raise UserError(
        "bad-architecture",
        "the architecture is not in the tabular benchmark",
        "one of `posefabric.tabular.architectures()`",
        "derive from its supernet by argmax with search.max_inputs=1",
    )


def _part_name(genotype: Genotype) -> str:
    """Of a genotype of one path, from its cells in forward order."""
    sites = [SPACE.site(name) for name in genotype.cells]
    (slot,) = genotype.cells[sites[0].name].inputs
    first = next(source.stride for source in sites[0].sources if source.slot == slot)
    (operation,) = genotype.cells[sites[0].name].edges[0]
    return "-".join(str(stride) for stride in (first, *(site.stride for site in sites[:-1]))) + f":{operation}"
