"""The published runs, and ours: one function per run, each a `Config` with its source.

The paper's figures are those of PNFS tables III, V, VI and VII (arXiv 1909.07068v4). Its epochs, batch size, learning
rate and steps are section IV's; rotation, scale and flip too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from posefabric.architecture import Architecture
from posefabric.config import (
    Augmentation,
    BackboneSettings,
    Config,
    DataSettings,
    EvaluationSettings,
    FabricSettings,
    ModelSettings,
    Optimization,
    SearchSettings,
    override,
)
from posefabric.errors import unknown_name
from posefabric.genotype import CellChoice, Genotype
from posefabric.skeletons import COCO17, LSP14, MPII16, Skeleton
from posefabric.space import BACKBONE_OPERATIONS


@dataclass(frozen=True)
class Recipe:
    """A run that can be repeated. `published` holds the figures its source prints, empty for our own runs."""

    summary: str
    skeleton: Skeleton
    config: Config
    published: str = ""
    choices: Callable[[Architecture], Architecture] = lambda architecture: architecture

    def architecture(self) -> Architecture:
        """The net of the recipe: its supernet, or the published topology where there is one."""
        return self.choices(self.config.model.supernet(self.skeleton, self.config.backbone.describe()))


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
        data=DataSettings(sigma_px=sigma_px, augmentation=PAPER_AUGMENTATION),
        search=SearchSettings(architecture_schedule="same"),
        evaluation=EvaluationSettings(flip_test=True),
    )
    nodes = f", {num_nodes} nodes" if num_nodes > 1 else ""
    summary = f"{skeleton.name}, {backbone}, {parts} parts, C = {base_channels}{nodes}"
    return Recipe(summary, skeleton, config, published)


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


def _small_fabric(base_channels: int) -> BackboneSettings:
    fabric = FabricSettings(num_layers=8, keep=3, base_channels=base_channels, operations=BACKBONE_OPERATIONS)
    return BackboneSettings(name="fabric", pretrained=False, fabric=fabric)


def smoke() -> Recipe:
    """Any command within a minute on two cores: for trying a set-up, and for tests."""
    fast = {"epochs": 1, "batch_size": 16, "schedule": "cosine", "lr": 2e-3}
    config = Config(
        model=ModelSettings(parts="3", input_hw=(64, 64), fabric=FabricSettings(base_channels=8)),
        backbone=_small_fabric(1),
        data=DataSettings(sigma_px=1.0, synthetic_train=128, synthetic_val=32),
        search=SearchSettings(**fast, derive="argmax"),
        train=Optimization(**fast),
    )
    return Recipe("a minute on two cores, for trying a set-up", COCO17, config)


def base() -> Recipe:
    """What a command does unless told otherwise: a small net, trained long, nothing downloaded."""
    settings = {"batch_size": 32, "optimizer": "adamw", "lr": 2e-3, "weight_decay": 1e-2, "schedule": "cosine"}
    config = Config(
        model=ModelSettings(parts="3", input_hw=(256, 192)),
        backbone=BackboneSettings(name="mobilenetv2_100", pretrained=False),
        search=SearchSettings(**settings, warmup=0.05, clip_norm=5.0, epochs=50, architecture_lr=3e-3, derive="argmax"),
        train=Optimization(**settings, warmup=0.05, clip_norm=5.0, epochs=210, ema_decay=0.9998, validate_every=10),
        evaluation=EvaluationSettings(decode="dark", flip_test=True),
    )
    return Recipe("the default: mobilenetv2_100 from scratch, 256 x 192", COCO17, config)


def demo() -> Recipe:
    """The run of `posefabric demo`: synthetic people who roughly face the camera, minutes on two cores."""
    settings = {
        "optimizer": "adamw",
        "lr": 2e-3,
        "weight_decay": 1e-2,
        "schedule": "cosine",
        "warmup": 0.05,
        "clip_norm": 5.0,
    }
    config = Config(
        model=ModelSettings(parts="3", input_hw=(64, 64), fabric=FabricSettings(base_channels=8)),
        backbone=BackboneSettings(name="resnet18", pretrained=False),
        data=DataSettings(
            sigma_px=1.5,
            augmentation=Augmentation(
                rotation_probability=0.0,
                scale=(0.95, 1.05),
                half_body_probability=0.0,
                colour=0.1,
                cutout_probability=0.0,
            ),
            in_memory=True,
            synthetic_train=4096,
            synthetic_val=256,
            synthetic_hw=(96, 80),
            synthetic_variety=0.2,
        ),
        search=SearchSettings(**settings, epochs=1, batch_size=32, architecture_lr=5e-3, derive="argmax"),
        train=Optimization(**settings, epochs=4, batch_size=16, precision="bf16-mixed", validate_every=2),
        evaluation=EvaluationSettings(decode="dark"),
    )
    return Recipe("the demonstration on synthetic people", COCO17, config)


def lspet() -> Recipe:
    """Leeds Sports Pose Extended at a small input, from scratch on two cores in about an hour (`LOG.md`)."""
    settings = {
        "batch_size": 32,
        "optimizer": "adamw",
        "weight_decay": 1e-2,
        "schedule": "cosine",
        "warmup": 0.05,
        "clip_norm": 5.0,
        "precision": "bf16-mixed",
    }
    config = Config(
        model=ModelSettings(parts="3", input_hw=(96, 96), fabric=FabricSettings(base_channels=8)),
        backbone=BackboneSettings(name="resnet18", pretrained=False),
        data=DataSettings(sigma_px=1.5, augmentation=Augmentation(half_body_probability=0.1), in_memory=True),
        search=SearchSettings(**settings, epochs=2, lr=2e-3, architecture_lr=5e-3, derive="argmax"),
        train=Optimization(**settings, epochs=25, lr=2e-3, ema_decay=0.998, validate_every=5),
        evaluation=EvaluationSettings(decode="dark", flip_test=True),
    )
    return Recipe("LSPet photographs, resnet18 from scratch, 96 x 96", LSP14, config)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "base": base,
    "smoke": smoke,
    "demo": demo,
    "lspet": lspet,
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


def recipe(name: str) -> Recipe:
    """A recipe by name. An unknown name raises `UserError`."""
    if name not in RECIPES:
        raise unknown_name("recipe", name, tuple(RECIPES))
    return RECIPES[name]()
