"""Every strategy by every derivation, on a space that takes a second: what comes out is a net, the same one each time.

What strategies keep by themselves stands in `test_contract`.
"""

from __future__ import annotations

import functools
import zlib

import pytest
import torch
from small_runs import JUDGE, new_strategy, small_config, small_supernet, training_stream

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.budget import budget_macs
from posefabric.config import Config
from posefabric.models.cost import count
from posefabric.models.net import PoseNet
from posefabric.strategies import STRATEGIES
from posefabric.strategies.derive import METHODS, derive

every_strategy = pytest.mark.parametrize("name", STRATEGIES)
every_method = pytest.mark.parametrize("method", METHODS)

BUDGET = "60%"
WIDE = ("model.fabric.base_channels=8", "backbone.fabric.base_channels=4", f"search.budget={BUDGET}")
"""Here the choices, and not the stem, decide what a net costs."""


@functools.cache
def config(budget: str | None, seed: int = 0) -> Config:
    return small_config(f"seed={seed}", "search.architecture_lr=0.3", *(WIDE if budget else ()))


@functools.cache
def found(name: str, budget: str | None, seed: int = 0) -> Architecture:
    """What two steps of a search find."""
    learner = new_strategy(name, config(budget, seed))
    first, second = training_stream(config(budget), 2)
    for step in range(2):
        learner.step(first, second, step)
    return learner.choose(by_digest)


def by_digest(architecture: Architecture) -> float:
    """Some number that tells architectures apart."""
    return zlib.crc32(documents.to_json(architecture).encode()) / 2**32


@functools.cache
def derived(name: str, method: str, budget: str | None = None, seed: int = 0) -> Architecture:
    return derive(found(name, budget, seed), method, config(budget).search, JUDGE)


@every_strategy
@every_method
def test_a_derived_net_is_valid_data_and_runs(name: str, method: str) -> None:
    net = derived(name, method)
    assert documents.from_json(Architecture, documents.to_json(net), code="bad-architecture", where="") == net
    assert net.pruned({fabric: genotype for fabric, (_, genotype) in net.fabrics().items()}) == {
        fabric: genotype for fabric, (_, genotype) in net.fabrics().items()
    }
    with torch.no_grad():
        maps = PoseNet(net).eval()(torch.zeros(1, 3, *net.input_hw))
    assert maps.shape[1:] == (17, *net.heatmap_hw)
    assert bool(torch.isfinite(maps).all())


@every_strategy
@every_method
def test_a_budget_is_met(name: str, method: str) -> None:
    budget = budget_macs(BUDGET, count(small_supernet(config(BUDGET))).macs)
    assert 0.9 * budget <= count(derived(name, method, BUDGET)).macs <= budget


@every_strategy
def test_a_seed_decides_what_is_derived(name: str) -> None:
    again = found.__wrapped__(name, None)
    assert again == found(name, None)
    for method in METHODS:
        assert derive(again, method, config(None).search, JUDGE) == derived(name, method)
    if name != "uniform":
        assert found(name, None, seed=1) != again


@every_strategy
@every_method
def test_what_is_derived_of_what_was_derived_is_itself(name: str, method: str) -> None:
    """Nothing is left to choose: weights are even, or for `threshold` all above it."""
    net = derived(name, method)
    assert derive(net, method, config(None).search, JUDGE) == net
