"""Searches whose strategy compares nets: who is shown when, what is recorded, what a kill while choosing repeats."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from small_runs import small_config, small_people, small_supernet

from posefabric.architecture import Architecture
from posefabric.config import Config
from posefabric.data.loader import Batch
from posefabric.engine.scoring import Scoring, Shares
from posefabric.engine.search import search
from posefabric.errors import UserError
from posefabric.runs import CANDIDATES, Run
from posefabric.strategies import STRATEGIES
from posefabric.strategies.one_shot import OneShot, RandomSearch

COMPARING = [name for name, chosen in STRATEGIES.items() if issubclass(chosen, OneShot)]


def searched(folder: Path, config: Config) -> Run:
    run = Run.start(folder, "search", config.data_form(), {})
    search(run, config, small_supernet(config), small_people(), small_people(6, seed=1))
    return run


@pytest.mark.parametrize("name", COMPARING)
def test_a_kill_while_choosing_repeats_the_choosing_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(f"search.strategy={name}")
    whole = searched(tmp_path / "whole", config)
    scored = Scoring.__call__
    asked: list[float] = []

    def interrupted(self: Scoring, architecture: Architecture) -> float:
        asked.append(scored(self, architecture))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return asked[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Scoring, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "killed", config)
    assert len(Run(tmp_path / "killed").rows(CANDIDATES)) == 1
    with monkeypatch.context() as patch:
        patch.setattr(STRATEGIES[name], "step", None)
        resumed = searched(tmp_path / "killed", config)
    assert resumed.architecture() == whole.architecture()
    assert resumed.rows(CANDIDATES) == whole.rows(CANDIDATES)
    assert resumed.figures() == whole.figures()


class Watching(RandomSearch):
    """Random search that notes what its steps are shown."""

    seen: ClassVar[list[tuple[set[int], Batch | None]]] = []

    def step(self, weight_batch: Batch, architecture_batch: Batch | None, step: int) -> dict[str, float]:
        self.seen.append((set(weight_batch.indices.tolist()), architecture_batch))
        return super().step(weight_batch, architecture_batch, step)


def test_held_out_persons_are_not_shown_while_the_weights_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STRATEGIES, "watching", Watching)
    monkeypatch.setattr(Watching, "seen", [])
    config = small_config("search.strategy=watching", "search.epochs=4", "search.architecture_share=0.34")
    searched(tmp_path / "run", config)
    shares = Shares.of(config, 12)
    assert set().union(*(persons for persons, _ in Watching.seen)) <= set(shares.weights)
    assert all(held_out is None for _, held_out in Watching.seen)
    assert len(shares.held_out) == 4


def test_a_share_that_holds_nobody_out_is_refused(tmp_path: Path) -> None:
    config = small_config("search.strategy=random-k", "search.architecture_share=0.01")
    with pytest.raises(UserError, match=r"search\.architecture_share=0\.01 of 12 persons"):
        searched(tmp_path / "run", config)
