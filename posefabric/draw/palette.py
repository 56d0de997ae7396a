"""The colours of every picture, distinguishable under the common colour-vision deficiencies.

Operations and runs use Okabe and Ito's set, parts use mid-tones that stay visible on white and on black. No
colour carries a meaning alone: parts are numbered, inputs differ in line style, the report lists operations.
"""

from __future__ import annotations

from collections.abc import Sequence

INK, MUTED, FAINT, PAPER = "#1f2933", "#66717d", "#b8c1ca", "#ffffff"
"""Text and arrows, secondary text, outlines of what is not kept, background."""

SIDE_COLOURS: dict[str, tuple[int, int, int]] = {
    "left": (255, 149, 20),
    "right": (86, 190, 255),
    "middle": (245, 245, 245),
}
"""RGB of the limbs on a photograph."""

RIM_COLOUR = (20, 24, 28)

OPERATION_COLOURS: dict[str, str] = {
    "skip_connect": "#009e73",
    "sep_conv_3x3": "#0072b2",
    "dil_conv_3x3": "#e69f00",
    "avg_pool_3x3": "#cc79a7",
    "max_pool_3x3": "#d55e00",
}
_SPARE_COLOURS = ("#56b4e9", "#f0e442", "#8c6bb1", "#7f7f7f", "#a6761d")

ERROR_COLOURS: dict[str, str] = {
    "good": "#009e73",
    "jitter": "#56b4e9",
    "inversion": "#e69f00",
    "swap": "#cc79a7",
    "miss": "#d55e00",
}
"""Of `evaluation.errors.KINDS`."""

PART_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee7733", "#009988")

RUN_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def operation_colours(operations: Sequence[str]) -> dict[str, str]:
    """A colour for every operation: the paper's candidates keep theirs, others take spare ones in order."""
    others = [name for name in operations if name not in OPERATION_COLOURS]
    spare = {name: _SPARE_COLOURS[i % len(_SPARE_COLOURS)] for i, name in enumerate(others)}
    return {name: OPERATION_COLOURS.get(name) or spare[name] for name in operations}


def part_colour(index: int) -> str:
    return PART_COLOURS[index % len(PART_COLOURS)]
