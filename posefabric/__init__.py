"""posefabric: neural architecture search for pose estimation, one searched fabric per body part.

The walk, in the order the data takes (`docs/walk.md`):

    data            photographs and annotations become samples, samples become batches
    models          backbone features, one fabric per part, vectors, heatmaps
    heatmaps        keypoints to targets for training, heatmaps to keypoints afterwards
    predictor       from a crop back to the image
    evaluation      the field's metrics
    strategies      what the search chooses, and how
    engine          the loops that drive it all

Descriptions come before the walk and need no torch: `skeletons`, `space`, `genotype`, `config`, `recipes`. What the
command line offers (`commands`) is here under the same names, `posefabric data check` as `data_check`, `posefabric
experiment run` as `experiment_run`; everything is imported when first asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

_DATA_COMMANDS = ("check", "init", "view", "import_", "download", "synthesize")

_EXPERIMENT_COMMANDS = ("run", "work", "table")

_HOMES = {
    "COCO17": "skeletons",
    "MPII16": "skeletons",
    "LSP14": "skeletons",
    "Skeleton": "skeletons",
    "SearchSpace": "space",
    "Genotype": "genotype",
    "Architecture": "architecture",
    "HandMade": "handmade",
    "Config": "config",
    "UserError": "errors",
    "PoseNet": "models.net",
    "Predictor": "predictor",
    "Poses": "predictor",
    "load": "predictor",
    **dict.fromkeys(
        (
            "demo",
            "search",
            "derive",
            "show",
            "train",
            "evaluate",
            "predict",
            "profile",
            "report",
            "import_weights",
            "doctor",
        ),
        "commands",
    ),
    **{f"data_{name.rstrip('_')}": f"commands:{name}" for name in _DATA_COMMANDS},
    **{f"experiment_{name}": f"commands:{name}" for name in _EXPERIMENT_COMMANDS},
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'posefabric' has no attribute '{name}'")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"posefabric.{module}"), attribute or name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
