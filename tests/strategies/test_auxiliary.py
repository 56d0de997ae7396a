"""Auxiliary skips: lent by a schedule, worth what a skip in a mixture is worth, and gone without a trace at the end."""

from __future__ import annotations

import copy
import itertools
import logging
from pathlib import Path

import pytest
import torch
from small_runs import (
    lively_net,
    new_strategy,
    same_state,
    small_config,
    small_people,
    small_supernet,
    training_stream,
)
from torch import Tensor

from posefabric.engine.search import search
from posefabric.genotype import CellChoice, Genotype
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.predictor import inherit
from posefabric.runs import Run
from posefabric.strategies.auxiliary import skip_weight
from posefabric.strategies.derive import derive

LENT = ("model.fabric.auxiliary_skip=cosine", "backbone.fabric.auxiliary_skip=linear")
EDGES = ("model.fabric.num_nodes=2", "model.fabric.share_operations=false")


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("num_steps", [2, 3, 10, 1001])
def test_the_weight_falls_from_1_in_the_first_step_to_exactly_0_in_the_last(schedule: str, num_steps: int) -> None:
    weights = [skip_weight(schedule, step, num_steps) for step in range(num_steps)]
    assert weights[0] == 1
    assert weights[-1] == 0
    assert all(before > after for before, after in itertools.pairwise(weights))
    assert skip_weight(schedule, 0, 1) == 0
    middle = skip_weight(schedule, (num_steps - 1) // 2, num_steps)
    assert num_steps % 2 == 0 or middle == pytest.approx(0.5)


def test_nothing_is_lent_unasked() -> None:
    assert {skip_weight("none", step, 5) for step in range(5)} == {0}


def searched_net(*assignments: str) -> tuple[PoseNet, Tensor]:
    """A supernet of random weights and random logits, and images for it."""
    config = small_config(*EDGES, *assignments)
    trained, supernet = lively_net(config), small_supernet(config)
    net = PoseNet(supernet, softmax_mixings(supernet)).eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for logits in net.architecture_parameters():
            logits.normal_(generator=draw)
    inherit(net, {**net.state_dict(), **trained.state_dict()})
    return net, training_stream(config, 1)[0].images


def lend(net: PoseNet, weight: float) -> PoseNet:
    for mixing in net.mixing.values():
        mixing.auxiliary_skip = weight
    return net


@torch.no_grad()
def test_a_skip_of_weight_0_changes_no_bit_and_no_key() -> None:
    plain, images = searched_net()
    lending, _ = searched_net(*LENT)
    assert lending.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(lend(lending, 0.0)(images), plain(images))
    assert not torch.allclose(lend(lending, 0.5)(images), plain(images), rtol=1e-2)


@torch.no_grad()
def test_a_skip_is_worth_as_much_as_one_in_the_mixture() -> None:
    net, images = (found.double() for found in searched_net(*LENT))
    richer = mixture(net).with_genotypes(
        {
            name: Genotype(
                {
                    site: CellChoice(
                        cell.inputs,
                        tuple({**edge, "skip_connect": edge["skip_connect"] + 0.7} for edge in cell.edges),
                    )
                    for site, cell in genotype.cells.items()
                }
            )
            for name, (_, genotype) in mixture(net).fabrics().items()
        }
    )
    fixed = PoseNet(richer).double().eval()
    inherit(fixed, net.state_dict())
    torch.testing.assert_close(lend(net, 0.7)(images), fixed(images))


@pytest.mark.parametrize("name", ["sync", "first-order", "second-order", "gumbel", "gumbel-hard", "random"])
def test_a_strategy_lends_by_the_step_and_resumes_exactly(name: str) -> None:
    config = small_config(*LENT, "search.ema_decay=0.5")
    batches = training_stream(config, 4)
    whole, num_steps = new_strategy(name, config, num_steps=4), 4
    saved = {}
    for step in range(num_steps):
        if step == 2:
            saved = copy.deepcopy(whole.state_dict())
        figures = whole.step(batches[step], batches[-1 - step], step)
        weights = {mixing.space.auxiliary_skip: mixing.auxiliary_skip for mixing in whole.net.mixing.values()}
        assert weights == {kind: skip_weight(kind, step, num_steps) for kind in ("cosine", "linear")}
        assert figures["auxiliary_skip"] in weights.values()
    assert set(weights.values()) == {0}
    resumed = new_strategy(name, config, num_steps=4)
    resumed.load_state_dict(saved)
    for step in range(2, num_steps):
        resumed.step(batches[step], batches[-1 - step], step)
    assert same_state(resumed.state_dict(), whole.state_dict())


@torch.no_grad()
def test_a_derived_net_has_no_skips_of_the_search() -> None:
    net, _ = searched_net(*LENT)
    config = small_config(*EDGES)
    derived = derive(mixture(net), "argmax", config.search)
    assert {space.auxiliary_skip for space, _ in derived.fabrics().values()} == {"none"}
    plain, _ = searched_net()
    assert derived == derive(mixture(plain), "argmax", config.search)


def test_a_search_records_the_weight_and_warns_where_there_is_no_mixture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for strategy in ("sync", "uniform"):
        config = small_config(*LENT, f"search.strategy={strategy}")
        run = Run.start(tmp_path / strategy, "search", config.data_form(), {})
        with caplog.at_level(logging.WARNING):
            search(run, config, small_supernet(config), small_people(), small_people(6, seed=1))
        lent = [row["auxiliary_skip"] for row in run.rows() if "auxiliary_skip" in row]
        assert lent == ([1, 0.5, 0] if strategy == "sync" else [])
    (message,) = [record.getMessage() for record in caplog.records if "auxiliary_skip" in record.getMessage()]
    assert "uniform" in message
