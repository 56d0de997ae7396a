"""Searches with partial channels: they measure their mixture, leave a net without weights, and say so everywhere."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from small_runs import small_config, small_people, small_supernet

from posefabric import commands
from posefabric.engine.search import search
from posefabric.engine.train import build_net, train
from posefabric.errors import UserError
from posefabric.models.cost import count
from posefabric.predictor import load
from posefabric.runs import FROM_SCRATCH, Run
from posefabric.strategies.derive import derive

PARTIAL = ("model.fabric.partial_channels=2", "search.strategy=sync")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = small_config(*PARTIAL)
    run = Run.start(tmp_path_factory.mktemp("partial") / "run", "search", config.data_form(), {})
    search(run, config, small_supernet(config), small_people(), small_people(6, seed=1))
    return run


def test_a_partial_search_measures_its_mixture_alone(searched: Run) -> None:
    figures, derived = searched.figures(), searched.architecture()
    assert {key for key in figures if not key.startswith("mixture/")} == {"parameters", "macs"}
    assert "mixture/AP" in figures
    assert (figures["parameters"], figures["macs"]) == (count(derived).parameters, count(derived).macs)
    mixture = searched.architecture("supernet.json")
    assert mixture.partial
    assert not derived.partial
    assert derived == derive(mixture, "argmax", small_config().search)
    assert searched.finished


def test_it_says_before_the_search_that_nothing_will_be_inherited(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(*PARTIAL, "search.lr=1e30")
    run = Run.start(tmp_path / "run", "search", config.data_form(), {})
    with caplog.at_level(logging.WARNING), pytest.raises(UserError, match="the loss of step"):
        search(run, config, small_supernet(config), small_people(), small_people(6, seed=1))
    assert any("inherits no weights" in record.getMessage() for record in caplog.records)
    assert Run(run.path).record[FROM_SCRATCH] is True


def test_whoever_wants_the_weights_is_told_to_train(searched: Run) -> None:
    todo = f"posefabric train DATA --architecture {searched.path}"
    with pytest.raises(UserError, match="partial channels") as caught:
        load(searched.path)
    assert (caught.value.code, todo in str(caught.value)) == ("bad-weights", True)
    with pytest.raises(UserError, match="partial channels") as caught:
        commands.train("synthetic", architecture=searched.path, weights=searched.path, recipe="smoke")
    assert (caught.value.code, todo in str(caught.value)) == ("bad-weights", True)


def test_the_report_says_so(searched: Run) -> None:
    page = (searched.path / "report.html").read_text()
    assert "the derived net has no weights yet" in page
    assert "How the search went" in page


def test_what_was_derived_is_trained_from_scratch(searched: Run, tmp_path: Path) -> None:
    config = small_config()
    run = Run.start(tmp_path / "run", "train", config.data_form(), {})
    train(run, config, build_net(searched.architecture(), config), (small_people(), small_people(6, seed=1)))
    assert load(run.path).net.architecture == searched.architecture()
