"""Every strategy searches widths: it learns, repeats, and what is derived is narrower and inherits what was trained."""

from __future__ import annotations

import hashlib

import pytest
import torch
from small_runs import new_strategy, same_state, small_config, training_stream

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.models.choices import choice_costs
from posefabric.models.cost import count
from posefabric.models.mixing import SampledMixing
from posefabric.models.net import PoseNet
from posefabric.predictor import inherit
from posefabric.strategies import STRATEGIES
from posefabric.strategies.candidates import Pool, as_mixture
from posefabric.strategies.derive import derive, strongest_widths
from posefabric.strategies.protocol import Strategy

WIDE = (
    "model.fabric.width_multipliers=[0.5,0.75,1.0]",
    "backbone.fabric.width_multipliers=[0.5,1.0]",
    "search.candidates=2",
)


def searched(name: str, *assignments: str) -> Strategy:
    config = small_config("search.architecture_lr=0.3", *WIDE, *assignments)
    learner = new_strategy(name, config)
    batches = training_stream(config, 2)
    for step in range(2):
        figures = learner.step(batches[step], batches[1 - step], step)
        logits = [p for p in learner.net.architecture_parameters() if p.ndim]
        assert ("width_entropy" in figures) == bool(logits)
    return learner


def some_number(architecture: Architecture) -> float:
    """A score that tells architectures apart."""
    return float(hashlib.sha256(documents.to_json(architecture).encode()).digest()[0])


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_finds_widths(name: str) -> None:
    learner = searched(name)
    assert same_state(learner.state_dict(), searched(name).state_dict())
    found = learner.choose(some_number)
    assert {fabric: set(shares) for fabric, shares in found.width_shares.items()} == {
        fabric: {4, 8, 16, 32} for fabric in ("all", "backbone")
    }
    assert documents.from_json(Architecture, documents.to_json(found), code="bad-architecture", where="") == found
    derived = derive(found, "argmax", small_config("search.max_inputs=1").search)
    assert derived.width_shares == {}
    assert {f: {s: derived.channels(f)[s] for s in w} for f, w in strongest_widths(found).items()} == strongest_widths(
        found
    )
    net = PoseNet(derived)
    inherit(net, learner.net.state_dict())
    with torch.no_grad():
        assert torch.isfinite(net.eval()(torch.zeros(1, 3, *derived.input_hw))).all()


def test_single_nets_have_a_width_per_scale_and_cost_what_the_counter_counts() -> None:
    supernet = searched("uniform").net.architecture
    pool = Pool(supernet)
    drawn = [pool.draw(0, number) for number in range(12)]
    assert len({candidate.architecture.widths["all"] for candidate in drawn}) > 6
    assert len({candidate.architecture.backbone.widths for candidate in drawn}) > 4
    for candidate in drawn[:3]:
        assert candidate.macs == count(candidate.architecture).macs
        assert strongest_widths(as_mixture(supernet, candidate.architecture)) == {
            fabric: candidate.architecture.channels(fabric) for fabric in supernet.width_shares
        }


def test_what_a_single_net_trains_is_what_is_inherited() -> None:
    """In float64, so that only the order of sums may differ: the sampled supernet is the narrower net."""
    learner = searched("random-k")
    supernet = learner.net.architecture
    candidate = Pool(supernet, most_inputs=1).draw(1, 0)
    found = as_mixture(supernet, candidate.architecture)
    net = learner.net.double().eval()
    for name, mixing in net.mixing.items():
        assert isinstance(mixing, SampledMixing)
        mixing.follow(candidate.architecture.fabrics()[name][1], found.width_shares[name])
    derived = PoseNet(candidate.architecture).double().eval()
    inherit(derived, net.state_dict())
    images = torch.randn(1, 3, *supernet.input_hw, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(derived(images), net(images), rtol=1e-9, atol=1e-12)


def test_a_band_is_met_with_widths() -> None:
    supernet = searched("uniform", "model.fabric.base_channels=4").net.architecture
    pool = Pool(supernet, "85%")
    whole = choice_costs(supernet).whole
    for number in range(3):
        macs = count(pool.draw(0, number).architecture).macs
        assert 0.94 * 0.85 * whole <= macs <= 0.85 * whole
