"""The runs that can be called by name: the paper's (`posefabric.published`) and ours, one function each."""

from __future__ import annotations

from collections.abc import Callable

from posefabric.config import Config
from posefabric.errors import unknown_name
from posefabric.published import PUBLISHED, Recipe
from posefabric.settings import (
    Augmentation,
    BackboneSettings,
    DataSettings,
    EvaluationSettings,
    FabricSettings,
    ModelSettings,
    SearchSettings,
    TrainSettings,
)
from posefabric.skeletons import COCO17, LSP14
from posefabric.space import BACKBONE_OPERATIONS


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
        train=TrainSettings(**fast),
    )
    return Recipe("a minute on two cores, for trying a set-up", COCO17, config)


def base() -> Recipe:
    """What a command does unless told otherwise: a small net, trained long, nothing downloaded."""
    settings = {"batch_size": 32, "optimizer": "adamw", "lr": 2e-3, "weight_decay": 1e-2, "schedule": "cosine"}
    config = Config(
        model=ModelSettings(parts="3", input_hw=(256, 192)),
        backbone=BackboneSettings(name="mobilenetv2_100", pretrained=False),
        search=SearchSettings(**settings, warmup=0.05, clip_norm=5.0, epochs=50, architecture_lr=3e-3, derive="argmax"),
        train=TrainSettings(**settings, warmup=0.05, clip_norm=5.0, epochs=210, ema_decay=0.9998, validate_every=10),
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
        train=TrainSettings(**settings, epochs=4, batch_size=16, precision="bf16-mixed", validate_every=2),
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
        train=TrainSettings(**settings, epochs=25, lr=2e-3, ema_decay=0.998, validate_every=5),
        evaluation=EvaluationSettings(decode="dark", flip_test=True),
    )
    return Recipe("LSPet photographs, resnet18 from scratch, 96 x 96", LSP14, config)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "base": base,
    "smoke": smoke,
    "demo": demo,
    "lspet": lspet,
    **PUBLISHED,
}


def recipe(name: str) -> Recipe:
    """A recipe by name. An unknown name raises `UserError`."""
    if name not in RECIPES:
        raise unknown_name("recipe", name, tuple(RECIPES))
    return RECIPES[name]()
