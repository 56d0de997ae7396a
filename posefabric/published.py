"""The paper's runs: one function per row of its tables, each a `Config` with its source.

Figures are those of PNFS tables III, V, VI and VII (arXiv 1909.07068v4). "GiMAC" is what the paper prints as GFLOPs:
multiply-adds of convolutions over 2^30.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from posefabric.architecture import Architecture
from posefabric.config import Config, override
from posefabric.genotype import CellChoice, Genotype
from posefabric.settings import (
    Augmentation,
    BackboneSettings,
    DataSettings,
    EvaluationSettings,
    FabricSettings,
    ModelSettings,
    SearchSettings,
)
from posefabric.skeletons import COCO17, MPII16, Skeleton


@dataclass(frozen=True)
class Recipe:
    """A run that can be repeated.

    `published` holds the figures that its source prints and `sources` where its settings come from, key or section by
    key; both are empty for our own runs. `choices` makes the architecture from the supernet.
    """

    summary: str
    skeleton: Skeleton
    config: Config
    published: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    choices: Callable[[Architecture], Architecture] = lambda architecture: architecture

    def architecture(self) -> Architecture:
        """The net of the recipe: its supernet, or the published topology where there is one."""
        return self.choices(self.config.model.supernet(self.skeleton, self.config.backbone.describe()))


PAPER_SOURCES = {
    "model.parts": "table I; the row's P",
    "model.input_hw": "section IV: MPII 256 x 256 (its test 384 x 384), COCO 384 x 288; each row says more",
    "model.fabric": "section III-B and the row: the last 3 of 6 layers; C and H of the row; 4 operations, alpha shared",
    "model.fabric.boundary": "section III-B: a missing neighbour's slot copies another input",
    "model.vector_dim": "section III-D and table IV: D = 8 (code: no vectors in the configuration of HRNet on MPII)",
    "model.activation": "section III-D, the squash of capsules",
    "model.fusion": "equation 6, a sum over the parts",
    "backbone": "tables V to VII and figure 7; ImageNet weights but for the fabrics",
    "data.margin": "code: 1.25 (COCO: box to input; MPII: scale x 1.25)",
    "data.sigma_px": "code's configurations: 2, and 3 for HRNet on COCO; the paper names none for its rows",
    "data.stretch_boxes": "code: COCO boxes hold all labelled keypoints and 5 px more, in training and on ground truth",
    "data.mean": "code; there by mistake in BGR order, here RGB",
    "data.std": "code; there by mistake in BGR order, here RGB",
    "data.augmentation.flip_probability": "code: 0.5",
    "data.augmentation.rotation_deg": "section IV: -45 to 45 degrees (code: normal, 45 degrees wide, cut at 90)",
    "data.augmentation.rotation_probability": "code: 0.6",
    "data.augmentation.scale": "section IV: 0.7 to 1.3 (code: normal, 0.3 wide, cut there)",
    "data.augmentation": "none other in the paper",
    "search": "the paper's main strategy: one Adam for weights, alpha and beta; its result is the mixture itself",
    "search.architecture_schedule": "section IV: falls with the weights' rate, but for Ours-3",
    "search.threshold": "section IV-D: only what reached exactly 0 is pruned",
    "train": "section IV: 200 epochs, Adam, 1e-3, times 0.25 at 90, 120 and 150; code: batch 24, no weight decay",
    "search.epochs": "section IV: 200",
    "search.batch_size": "code: 24",
    "evaluation.decode": "section IV: a quarter pixel towards the second highest neighbour",
    "evaluation.flip_test": "section IV",
    "evaluation.suppression": "section IV (OKS-NMS); here on detected boxes alone, in the code on annotated ones too",
    "evaluation.suppression_oks": "code: 0.9",
    "evaluation.box_threshold": "code: all boxes",
}
"""Where each setting of the paper's rows comes from; a key stands for all below it that are not named themselves.

Sections, tables and equations are those of arXiv 1909.07068v4; "code" is the authors' release.
"""

PAPER_AUGMENTATION = Augmentation(half_body_probability=0.0, colour=0.0, cutout_probability=0.0)


def _paper(
    skeleton: Skeleton,
    backbone: str,
    parts: str,
    base_channels: int,
    input_hw: tuple[int, int],
    *,
    num_nodes: int = 1,
    sigma_px: float = 2.0,
    published: str,
) -> Recipe:
    config = Config(
        model=ModelSettings(
            parts=parts,
            input_hw=input_hw,
            fabric=FabricSettings(base_channels=base_channels, num_nodes=num_nodes),
        ),
        backbone=BackboneSettings(name=backbone, pretrained=not backbone.startswith("fabric")),
        data=DataSettings(sigma_px=sigma_px, stretch_boxes=skeleton is COCO17, augmentation=PAPER_AUGMENTATION),
        search=SearchSettings(architecture_schedule="same"),
        evaluation=EvaluationSettings(flip_test=True),
    )
    nodes = f", {num_nodes} nodes" if num_nodes > 1 else ""
    summary = f"{skeleton.name}, {backbone}, {parts} parts, C = {base_channels}{nodes}"
    return Recipe(summary, skeleton, config, published, PAPER_SOURCES)


def mpii_ablation(parts: str, published: str) -> Recipe:
    """A row of table III: MobileNetV2, C = 10, H = 1, D = 8, MPII validation at 256 x 256."""
    return _paper(MPII16, "mobilenetv2_100", parts, 10, (256, 256), published=published)


def coco_ours1() -> Recipe:
    """Table VII, Ours-1."""
    published = "test-dev AP 67.4, 6.1M parameters (5.07M live), 4.0 GiMAC"
    return _paper(COCO17, "mobilenetv2_100", "3", 16, (384, 288), published=published)


def coco_ours2() -> Recipe:
    """Table VII, Ours-2."""
    published = "test-dev AP 70.9, 27.5M parameters, 11.4 GMAC (10.56 GiMAC)"
    return _paper(COCO17, "resnet50", "3", 10, (384, 288), published=published)


def coco_ours3() -> Recipe:
    """Table VII, Ours-3, before pruning; the one row whose alphas and betas keep their rate (section IV-D)."""
    published = "test-dev AP 72.3, val AP 73.0; 15.8M parameters, 14.8 GiMAC after the authors' pruning"
    whole = _paper(COCO17, "hrnet_w32", "5", 16, (384, 288), sigma_px=3.0, published=published)
    return replace(whole, config=override(whole.config, ["search.architecture_schedule=constant"]))


def coco_ours3_published() -> Recipe:
    """Ours-3 with the topology of figure 1 (version of mid 2020), the one searched topology that is published."""
    return replace(coco_ours3(), summary="coco17, Ours-3, the published topology", choices=published_topology)


def mpii_ours_a() -> Recipe:
    """Table V, Ours-a; 384 x 384 gives its printed cost."""
    published = "test PCKh@0.5 90.2, 5.2M parameters, 4.6 GiMAC"
    return _paper(MPII16, "mobilenetv2_100", "3", 10, (384, 384), num_nodes=2, published=published)


def mpii_ours_b() -> Recipe:
    """Tables V and VI, Ours-b; its printed cost is that of 256 x 256."""
    published = "val PCKh@0.5 90.1, @0.1 39.4; test 91.0; 16.4M parameters, 9.4 GiMAC"
    return _paper(MPII16, "hrnet_w32", "5", 16, (256, 256), published=published)


def mpii_ours_c() -> Recipe:
    """Table VI, Ours-c."""
    published = "val PCKh@0.5 89.9, @0.1 39.5; 12.9M parameters, 8.3 GiMAC"
    return _paper(MPII16, "hrnet_w32", "3", 12, (256, 256), num_nodes=2, published=published)


def mpii_fabric(backbone: str) -> Recipe:
    """A net of figure 7(a) without pretraining; the figure does not say which backbone a point has."""
    published = "figure 7(a), unpretrained: (GiMAC, val PCKh@0.5) 1.98, 85.3; 2.0, 85.7; 3.3, 86.4; 3.34, 87.0"
    return _paper(MPII16, backbone, "3", 10, (256, 256), published=published)


FIGURE_1: dict[str, tuple[str, str, str, str, str, tuple[str, ...]]] = {
    "head_shoulder": ("c", "fc", "sfc", "sfc", "c", ("sep_conv_3x3", "dil_conv_3x3")),
    "left_lower_arm": ("", "fc", "fc", "sc", "c", ("sep_conv_3x3", "dil_conv_3x3")),
    "right_lower_arm": ("s", "f", "sfc", "sfc", "c", ("sep_conv_3x3", "dil_conv_3x3")),
    "thigh": ("", "sc", "fc", "sc", "c", ("sep_conv_3x3",)),
    "lower_limb": ("c", "c", "fc", "sfc", "c", ("sep_conv_3x3", "dil_conv_3x3")),
}
"""Part -> inputs (same, finer, coarser) of layer 3 at 1/4, 1/8, 1/16, of layer 4 at 1/8, of layer 5; operations."""


def published_topology(architecture: Architecture) -> Architecture:
    """Keep what figure 1 keeps, pruned; multipliers are not published and are set to 1."""
    sites = ("layer3_stride4", "layer3_stride8", "layer3_stride16", "layer4_stride8", "layer5_stride4")
    slots = {"s": "same", "f": "finer", "c": "coarser"}
    genotypes = {}
    for part, (*inputs, operations) in FIGURE_1.items():
        edges = tuple(dict.fromkeys(operations, 1.0) for _ in architecture.space.edges)
        genotypes[part] = Genotype(
            {
                site: CellChoice({slots[letter]: 1.0 for letter in letters}, edges)
                for site, letters in zip(sites, inputs, strict=True)
            }
        )
    return architecture.with_genotypes(genotypes)


PUBLISHED: dict[str, Callable[[], Recipe]] = {
    "mpii_mobilenetv2_p1": lambda: mpii_ablation("1", "val PCKh@0.5 86.4, @0.1 33.4"),
    "mpii_mobilenetv2_p3": lambda: mpii_ablation("3", "val PCKh@0.5 87.0, @0.1 34.6; 3.3M parameters, 1.2 GiMAC"),
    "mpii_mobilenetv2_p5": lambda: mpii_ablation("5", "val PCKh@0.5 87.1, @0.1 35.1"),
    "mpii_mobilenetv2_p8": lambda: mpii_ablation("8", "val PCKh@0.5 87.3, @0.1 35.6"),
    "coco_ours1": coco_ours1,
    "coco_ours2": coco_ours2,
    "coco_ours3": coco_ours3,
    "coco_ours3_published": coco_ours3_published,
    "mpii_ours_a": mpii_ours_a,
    "mpii_ours_b": mpii_ours_b,
    "mpii_ours_c": mpii_ours_c,
    "mpii_fabric1": lambda: mpii_fabric("fabric1"),
    "mpii_fabric2": lambda: mpii_fabric("fabric2"),
    "mpii_fabric3": lambda: mpii_fabric("fabric3"),
}
"""The paper's rows by name."""
