"""Evolution over single nets: it finds better ones than it began with, stays in the band, and repeats."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_runs import cpu_engine, small_config, small_supernet

from posefabric.architecture import Architecture
from posefabric.budget import budget_macs
from posefabric.config import Config
from posefabric.errors import UserError
from posefabric.models.cost import count
from posefabric.strategies import candidates
from posefabric.strategies.candidates import Contest, Pool
from posefabric.strategies.evolution import Evolution
from posefabric.strategies.populations import as_genome, as_parameters, evolve, search_space
from posefabric.strategies.protocol import StrategySetup

WIDE = ("model.fabric.base_channels=8", "backbone.fabric.base_channels=4", "model.parts=3")
KINDS = ("regularised", "nsga2")


def config(*assignments: str) -> Config:
    return small_config(*WIDE, "search.population=6", "search.evaluations=40", "search.tournament=3", *assignments)


@functools.cache
def pool(budget: str | None = None) -> Pool:
    return Pool(small_supernet(config()), budget, 0 if budget else 2)


def coarse(architecture: Architecture) -> float:
    """What an easy landscape is worth in every gene: convolutions in cells of coarse strides."""
    worth = 0.0
    for _, genotype in architecture.fabrics().values():
        for site, cell in genotype.cells.items():
            stride = int(site.rpartition("stride")[2])
            worth += sum(np.log2(stride) * ("sep_conv_3x3" in edge) for edge in cell.edges)
    return worth


def ran(
    kind: str, budget: str | None, seed: int = 0, score: Callable[[Architecture], float] = coarse
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    settings = config(f"search.evolution={kind}").search
    with Contest(score, lambda row: rows.append(dict(row)), pool(budget), settings.evaluations) as contest:
        evolve(pool(budget), contest, settings, seed)
    return rows


@pytest.mark.parametrize(("kind", "sign"), [("regularised", 1), ("regularised", -1), ("nsga2", -1)])
def test_later_nets_are_better_on_average_than_the_random_ones_before(kind: str, sign: int) -> None:
    """Where dear nets are worth more, NSGA-II goes both ways along its front, so it is asked for cheap ones alone."""
    scores = [row["score"] for row in ran(kind, None, score=lambda net: sign * coarse(net))]
    assert len(scores) == 40
    assert np.mean(scores[-15:]) > np.mean(scores[:6])
    assert scores[:6] == [sign * coarse(pool().draw(0, number).architecture) for number in range(6)]


def test_nsga2_finds_cheaper_nets_where_all_are_worth_the_same() -> None:
    macs = [row["macs"] for row in ran("nsga2", None, score=lambda _: 0.0)]
    assert np.mean(macs[-15:]) < np.mean(macs[:6])


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_decides_every_net_that_is_compared(kind: str) -> None:
    assert ran(kind, None, seed=1) == ran(kind, None, seed=1)
    assert ran(kind, None, seed=1) != ran(kind, None, seed=2)


def test_regularised_evolution_scores_nets_of_the_band_alone() -> None:
    most = budget_macs("70%", count(pool().supernet).macs)
    macs = [row["macs"] for row in ran("regularised", "70%")]
    assert len(macs) == 40
    assert all(0.95 * most <= found <= most for found in macs)


def test_nsga2_scores_nothing_above_the_budget_and_the_winner_is_in_the_band() -> None:
    most = budget_macs("70%", count(pool().supernet).macs)
    settings = config("search.evolution=nsga2").search
    rows: list[dict[str, Any]] = []
    with Contest(coarse, lambda row: rows.append(dict(row)), pool("70%"), 40) as contest:
        evolve(pool("70%"), contest, settings, 0)
    assert all(row["macs"] <= most for row in rows)
    assert any(row["macs"] < 0.95 * most for row in rows)
    assert 0.95 * most <= contest.winner.macs <= most


def test_where_no_new_net_is_left_it_ends_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    few = small_config("model.fabric.keep=1", "backbone.name=resnet18", "search.population=2", "search.evaluations=500")
    tiny = Pool(small_supernet(few), None, 1)
    with Contest(coarse, lambda row: None, tiny, 500) as contest:
        evolve(tiny, contest, few.search, 0)
    assert "no new net in 1000 tries" in caplog.text
    assert len(contest) == 6  # three inputs, two operations


def test_a_genome_survives_being_a_trials_parameters() -> None:
    genome = pool().genes.draw(np.random.default_rng(0))
    assert as_genome(as_parameters(genome)) == genome
    space = search_space(pool().genes)
    assert all(value in space[name].choices for name, value in as_parameters(genome).items())  # type: ignore[attr-defined]


def test_what_evolution_cannot_do_is_told_before_the_weights_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "TRIES", 20)
    dear = config("search.budget=100%", "model.parts=1", "model.fabric.operations=[sep_conv_3x3,dil_conv_3x3]")
    with pytest.raises(UserError, match="nets of one operation per edge reach"):
        Evolution(StrategySetup(cpu_engine(), small_supernet(dear), dear, 1))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'posefabric\[sweep\]'"):
        Evolution(StrategySetup(cpu_engine(), small_supernet(config()), config(), 1))
