"""The smallest useful runs: a tiny supernet, a few small synthetic people, and the configuration that joins them."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from lightning_fabric import Fabric as Engine
from torch import Tensor, nn

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.config import Config, override
from posefabric.data.loader import Batch
from posefabric.data.memory import InMemory
from posefabric.data.records import People
from posefabric.data.synthetic import SyntheticPeople
from posefabric.engine.loop import Plan, Source, build_engine
from posefabric.engine.search import search
from posefabric.engine.train import build_net, train
from posefabric.models.head import VectorHead
from posefabric.models.net import PoseNet
from posefabric.predictor import crop_settings
from posefabric.recipes import recipe
from posefabric.runs import Run
from posefabric.skeletons import COCO17
from posefabric.strategies import STRATEGIES
from posefabric.strategies.perturbation import Judge
from posefabric.strategies.protocol import Strategy, StrategySetup

TINY = (
    "accelerator=cpu",
    "model.parts=1",
    "model.fabric.base_channels=1",
    "model.fabric.operations=[zero,skip_connect,sep_conv_3x3]",
    "backbone.fabric.operations=[skip_connect,sep_conv_3x3]",
    "data.synthetic_hw=[64,48]",
    "data.synthetic_train=12",
    "data.synthetic_val=6",
    "data.in_memory=true",
    "search.batch_size=4",
    "train.batch_size=4",
    "search.optimizer=adamw",
    "train.optimizer=adamw",
    "search.candidates=3",
    "search.population=2",
    "search.evaluations=3",
    "search.recalibration_batches=2",
)
"""What makes the recipe `smoke` a run of a second."""


def small_config(*assignments: str) -> Config:
    """The tiny configuration with further overrides."""
    return override(recipe("smoke").config, [*TINY, *assignments])


def small_supernet(config: Config) -> Architecture:
    """The supernet that a configuration describes."""
    return config.model.supernet(COCO17, config.backbone.describe())


@functools.cache
def small_people(count: int = 12, seed: int = 0) -> InMemory:
    """Small photographs, rendered once for all tests."""
    return InMemory(SyntheticPeople(count=count, seed=seed, image_hw=(64, 48)))


def training_stream(config: Config, num_steps: int) -> list[Batch]:
    """The first training batches of the small people."""
    view = crop_settings(config, small_supernet(config), augmented=True)
    source = Source(small_people(), view, config.search.batch_size, config.data.num_workers, seed=0)
    return list(source.batches(Plan(num_steps, 1), 0))


@functools.cache
def cpu_engine() -> Engine:
    """Full precision on the CPU."""
    return build_engine(small_config(), "32-true")


def carry_out(command: str, run: Run, config: Config, people: tuple[People, People]) -> Run:
    """A search or a training in a run folder, begun or gone on with, on (train, val) people."""
    supernet = small_supernet(config)
    if command == "train":
        train(run, config, build_net(supernet, config), people)
    else:
        search(run, config, supernet, *people)
    return run


def lively_net(config: Config, seed: int = 0) -> PoseNet:
    """A net of random weights whose norms know the small people, so that its heatmaps differ from pixel to pixel."""
    torch.manual_seed(seed)
    net = PoseNet(small_supernet(config))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics of all that is seen
        if isinstance(module, VectorHead):
            nn.init.normal_(module.to_vectors.weight)
    with torch.no_grad():
        net(training_stream(config, 1)[0].images)
    return net.eval()


def new_strategy(
    name: str, config: Config, num_steps: int = 10, initialise: Callable[[PoseNet], None] = lambda net: None
) -> Strategy:
    """A strategy as a search builds it, all random numbers drawn from the configuration's seed."""
    torch.manual_seed(config.seed)
    return STRATEGIES[name](StrategySetup(cpu_engine(), small_supernet(config), config, num_steps, initialise))


def arbitrary(architecture: Architecture) -> float:
    """A score that follows no rule, the same for the same net."""
    return zlib.crc32(documents.to_json(architecture).encode()) % 8


JUDGE = Judge(arbitrary)
"""For methods that need one."""


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested dicts and sequences under its dotted path."""
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, (list, tuple)) else None
    if items is None:
        yield path, tree
        return
    for key, value in items:
        yield from leaves(value, f"{path}.{key}")


def same_state(first: Any, second: Any) -> bool:
    """Whether two states hold the same leaves, tensors bit for bit."""
    ours, theirs = dict(leaves(first)), dict(leaves(second))
    return ours.keys() == theirs.keys() and all(_same(ours[path], theirs[path]) for path in ours)


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, Tensor):
        return isinstance(theirs, Tensor) and ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    return bool(ours == theirs)
