"""Scores by which nets are compared before they are trained: whose persons decide, and that nothing else does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from small_runs import lively_net, same_state, small_config, small_people, small_supernet

from posefabric.architecture import Architecture
from posefabric.checkpoints import load_tensors
from posefabric.config import Config
from posefabric.data.loader import Batch, evaluation_batches
from posefabric.engine import scoring as scoring_module
from posefabric.engine.inheritance import derived_net, recalibrate
from posefabric.engine.scoring import Scoring, Shares
from posefabric.engine.search import search
from posefabric.optimization import heatmap_objective
from posefabric.predictor import crop_settings, inherit
from posefabric.runs import Run
from posefabric.strategies import STRATEGIES
from posefabric.strategies.derive import derive
from posefabric.strategies.gradient import FirstOrder
from posefabric.strategies.protocol import Score

BILEVEL = "search.strategy=first-order"
HELD_OUT = ("search.architecture_share=0.5", "search.score_persons=4", "search.recalibration_batches=2")


def scoring(config: Config, noted: Callable[[Batch], Batch] = lambda batch: batch) -> Scoring:
    return Scoring(lively_net(config), config, small_people(), noted)


def nets(config: Config) -> list[Architecture]:
    """Two that differ in what they keep."""
    whole = small_supernet(config)
    return [whole, derive(whole, "argmax", config.search)]


def test_the_score_is_minus_the_loss_of_the_recalibrated_net_on_held_out_persons() -> None:
    config = small_config(BILEVEL, *HELD_OUT)
    scored = scoring(config)
    shares = Shares.of(config, 12)
    view = crop_settings(config, scored.supernet.architecture, augmented=False)
    (held_out,) = evaluation_batches(small_people(), view, indices=sorted(shares.held_out[:4]), batch_size=4)
    for architecture in nets(config):
        net = derived_net(architecture, scored.supernet)
        recalibrate(net, scored.calibration)
        with torch.no_grad():
            loss = heatmap_objective(net, held_out, config.data.sigma_px)
        assert scored(architecture) == pytest.approx(-float(loss), rel=1e-5)
    assert len(scored.calibration) == 2
    assert scored(nets(config)[0]) != scored(nets(config)[1])


@pytest.mark.parametrize(("strategy", "held_out"), [("first-order", 6), ("sync", 0)])
def test_persons_that_teach_the_weights_decide_only_where_nobody_is_held_out(strategy: str, held_out: int) -> None:
    seen: list[set[int]] = []

    def noted(batch: Batch) -> Batch:
        seen.append(set(batch.indices.tolist()))
        return batch

    config = small_config(f"search.strategy={strategy}", *HELD_OUT)
    shares = Shares.of(config, 12)
    assert sorted([*shares.weights, *shares.held_out]) == list(range(12))
    assert len(shares.held_out) == held_out
    scoring(config, noted)(small_supernet(config))
    *calibration, deciding = seen
    assert len(calibration) == 2
    assert set().union(*calibration) <= set(shares.weights)
    assert deciding == set((shares.held_out or shares.weights)[:4])


def test_an_architecture_is_measured_once_and_leaves_the_supernet_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(BILEVEL, *HELD_OUT)
    scored, again = scoring(config), scoring(config)
    before = copy.deepcopy(scored.supernet.state_dict())
    first = [scored(architecture) for architecture in nets(config)]
    assert [again(architecture) for architecture in reversed(nets(config))] == first[::-1]
    assert same_state(scored.supernet.state_dict(), before)
    with monkeypatch.context() as patch:
        patch.setattr(scoring_module, "derived_net", None)
        assert [scored(architecture) for architecture in nets(config)] == first
    with torch.no_grad():
        for parameter in scored.supernet.backbone.parameters():
            parameter.mul_(1.5)
    assert scored(nets(config)[0]) == first[0]
    scored.forget()
    assert scored(nets(config)[0]) != first[0]


class Asking(FirstOrder):
    """First-order search that asks what its mixture is worth."""

    scores: ClassVar[list[float]] = []

    def choose(self, score: Score) -> Architecture:
        found = super().choose(score)
        self.scores.append(score(found))
        return found


def test_a_search_hands_its_strategy_the_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STRATEGIES, "asking", Asking)
    monkeypatch.setattr(Asking, "scores", [])
    config = small_config("search.strategy=asking", *HELD_OUT, "search.epochs=2", "search.lr=1e-2")
    run = Run.start(tmp_path / "run", "search", config.data_form(), {})
    search(run, config, small_supernet(config), small_people(), small_people(6, seed=1))
    found = run.architecture("supernet.json")
    net = derived_net(found, lively_net(config))
    inherit(net, load_tensors(run.path / "weights.safetensors"))
    assert Asking.scores == [pytest.approx(Scoring(net, config, small_people())(found), rel=1e-5)]
