"""The sections of a configuration, each field once, with its unit and default. No torch here."""

from posefabric.settings.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    MAX_JSON,
    Augmentation,
    DataSettings,
    DecodeMethod,
    EvaluationSettings,
)
from posefabric.settings.fields import Count, NotNegative, Positive, Settings, Share, Text
from posefabric.settings.learning import STRATEGY_NAMES, Optimization, SearchSettings, TrainSettings
from posefabric.settings.model import BackboneSettings, FabricSettings, ModelSettings

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "MAX_JSON",
    "STRATEGY_NAMES",
    "Augmentation",
    "BackboneSettings",
    "Count",
    "DataSettings",
    "DecodeMethod",
    "EvaluationSettings",
    "FabricSettings",
    "ModelSettings",
    "NotNegative",
    "Optimization",
    "Positive",
    "SearchSettings",
    "Settings",
    "Share",
    "Text",
    "TrainSettings",
]
