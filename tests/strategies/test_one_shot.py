"""Supernets that learn a net at a time: what is run, what learns, and which of the random nets is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import (
    cpu_engine,
    lively_net,
    new_strategy,
    small_config,
    small_supernet,
    training_stream,
)

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.budget import budget_macs
from posefabric.errors import UserError
from posefabric.models.cost import count
from posefabric.models.mixing import SampledMixing
from posefabric.models.net import PoseNet, sampled_mixings
from posefabric.predictor import inherit
from posefabric.strategies.candidates import decided_shares, random_genotypes
from posefabric.strategies.derive import derive
from posefabric.strategies.genes import Genes, Genome
from posefabric.strategies.one_shot import STREAM, RandomSearch
from posefabric.strategies.protocol import StrategySetup

WIDE = ("model.fabric.base_channels=8", "backbone.fabric.base_channels=4")


SPACES = {
    "smallest": (),
    "nodes": ("model.parts=3", "model.fabric.num_nodes=2", "model.fabric.boundary=omit"),
    "widths": ("model.fabric.base_channels=4", "model.fabric.width_multipliers=[0.5,1.0]"),
}


def follow(net: PoseNet, genes: Genes, genome: Genome) -> None:
    genotypes, shares = genes.genotypes(genome), decided_shares(genes.supernet, genes.widths(genome))
    for fabric, mixing in net.mixing.items():
        assert isinstance(mixing, SampledMixing)
        mixing.follow(genotypes[fabric], shares.get(fabric))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_supernet_that_follows_a_net_is_that_net(space: tuple[str, ...]) -> None:
    config = small_config(*space)
    weights, genes = lively_net(config), Genes(small_supernet(config), 2)
    net = PoseNet(weights.architecture, sampled_mixings(weights.architecture)).eval()
    inherit(net, weights.state_dict())
    images = training_stream(config, 1)[0].images
    with torch.no_grad():
        between = net(images)
        for seed in range(3):
            genome = genes.draw(np.random.default_rng(seed))
            described = weights.architecture.with_genotypes(genes.genotypes(genome)).with_widths(genes.widths(genome))
            single = PoseNet(described).eval()
            inherit(single, weights.state_dict())
            follow(net, genes, genome)
            torch.testing.assert_close(net(images), single(images))
        for mixing in net.mixing.values():
            mixing.forget()
        torch.testing.assert_close(net(images), between)


@pytest.mark.parametrize("sampling", ["fair", "uniform"])
def test_in_a_step_only_the_weights_of_its_net_learn(sampling: str) -> None:
    config = small_config(f"search.sampling={sampling}", "search.weight_decay=0.5", "search.max_inputs=1")
    learner = new_strategy("random-k", config)
    genes = Genes(small_supernet(config), 1)
    for step, batch in enumerate(training_stream(config, 3)):
        turns = genes.in_turn(config.seed, step) if sampling == "fair" else None
        drawn = genes.genotypes(genes.draw(np.random.default_rng([config.seed, step, STREAM]), turns))
        single = PoseNet(small_supernet(config).with_genotypes(drawn))
        before = {name: weight.detach().clone() for name, weight in learner.net.named_parameters()}
        learner.step(batch, None, step)
        moved = {name for name, weight in learner.net.named_parameters() if not torch.equal(weight, before[name])}
        assert moved <= {name for name, _ in single.named_parameters()}
        assert moved >= {name for name, weight in single.named_parameters() if weight.ndim > 1}  # they decay


def test_every_operation_learns_within_a_fair_round() -> None:
    config = small_config("search.max_inputs=1", "model.fabric.keep=1", "backbone.name=resnet18")
    learner = new_strategy("random-k", config)
    before = {name: weight.detach().clone() for name, weight in learner.net.named_parameters() if ".edges." in name}
    for step, batch in enumerate(training_stream(config, 2)):  # skipping and a convolution
        learner.step(batch, None, step)
    after = dict(learner.net.named_parameters())
    assert before
    assert all(not torch.equal(after[name], weight) for name, weight in before.items() if "weight" in name)


def test_the_best_of_the_listed_random_nets_is_chosen_inside_the_band() -> None:
    config = small_config(*WIDE, "search.budget=60%", "search.candidates=4", "seed=3")
    whole, rows = small_supernet(config), list[dict[str, Any]]()
    setup = StrategySetup(cpu_engine(), whole, config, 1, record=lambda row: rows.append(dict(row)))
    values = {
        documents.to_json(net.architecture): value
        for net, value in zip(random_genotypes(whole, 4, 3, "60%"), (0.1, 0.4, 0.3, 0.2), strict=True)
    }

    def score(architecture: Architecture) -> float:
        return values[documents.to_json(architecture)]

    chosen = RandomSearch(setup).choose(score)
    derived = derive(chosen, "argmax", config.search)
    best = random_genotypes(whole, 2, 3, "60%")[1]
    assert derived.genotypes == best.architecture.genotypes
    assert [row["score"] for row in rows] == list(values.values())
    assert [(row["seed"], row["draw"]) for row in rows] == [(3, number) for number in range(4)]
    most = budget_macs("60%", count(whole).macs)
    assert all(0.95 * most <= row["macs"] <= most for row in rows)
    assert rows[1]["macs"] == count(best.architecture).macs
    assert rows[1]["genotypes"] == documents.to_data(best.architecture)["genotypes"]


def test_single_nets_are_not_compared_within_a_budget_of_time(tmp_path: Path) -> None:
    timed = f"search.latency_table={tmp_path}/table.json"
    config = small_config("search.budget=60%", timed, "search.cost_unit=latency")
    with pytest.raises(UserError, match="a budget of time"):
        new_strategy("random-k", config)
