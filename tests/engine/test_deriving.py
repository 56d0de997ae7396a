"""Nets derived anew from a search that is over: measured, judged by removal, tuned; and what is refused."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import TINY, same_state, small_config, small_people, small_supernet

from posefabric import commands
from posefabric.checkpoints import load_tensors
from posefabric.engine import discretisation
from posefabric.engine.bench import Bench
from posefabric.engine.deriving import derive_again
from posefabric.engine.search import search
from posefabric.engine.train import build_net, train
from posefabric.engine.trial import Trial
from posefabric.errors import UserError
from posefabric.models.net import PoseNet
from posefabric.predictor import inherit, kept_weights, load
from posefabric.runs import Run

PEOPLE = small_people(), small_people(6, seed=1)
FEW = (
    "search.recalibration_batches=2",
    "search.score_persons=4",
    "model.fabric.keep=1",
    "backbone.fabric.operations=[sep_conv_3x3]",
)
"""A space in which a net is judged by a handful of scores."""


def searched(folder: Path, *assignments: str) -> Run:
    config = small_config("search.architecture_lr=0.3", *FEW, *assignments)
    run = Run.start(folder, "search", config.data_form(), {"name": "people"})
    search(run, config, small_supernet(config), *PEOPLE)
    return run


def served(run: Run) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load(run.path).net.state_dict()
    return state


def test_a_search_and_a_derivation_judge_alike(tmp_path: Path) -> None:
    judged = ("search.perturbation_tuning=2", "search.derive=perturbation", "search.max_inputs=1")
    ended, again = searched(tmp_path / "a", *judged), searched(tmp_path / "b", "search.derive=argmax")
    config = small_config("search.architecture_lr=0.3", *FEW, *judged)
    assert derive_again(again, config, PEOPLE) == ended.architecture()
    assert same_state(served(again), served(ended))
    assert {key: value for key, value in again.figures().items() if key != "boxes"} == pytest.approx(
        {key: value for key, value in ended.figures().items() if key != "boxes"}, nan_ok=True
    )


def test_weights_follow_decisions_only_where_that_is_asked_for(tmp_path: Path) -> None:
    run = searched(tmp_path / "run")
    found, weights = run.architecture("supernet.json"), load_tensors(run.path / "weights.safetensors")
    for steps in (0, 2):
        bench = Bench(run, small_config(*FEW, f"search.perturbation_tuning={steps}"), found, *PEOPLE)
        net = PoseNet(found)
        inherit(net, weights)
        weights = {name: weights[name] for name in net.state_dict()}
        trial = Trial(bench, net)
        before = trial.judge.score(found)
        trial.judge.settle(found)
        assert same_state(net.state_dict(), weights)
        assert same_state(trial.net.state_dict(), weights) == (steps == 0)
        assert (trial.judge.score(found) == before) == (steps == 0)


def test_tuning_is_training_from_the_inherited_weights(tmp_path: Path) -> None:
    plain, tuned = searched(tmp_path / "plain"), searched(tmp_path / "tuned", "search.tuning_epochs=2")
    config = small_config("train.epochs=2")
    derived = plain.architecture()
    assert derived == tuned.architecture()
    trained = Run.start(tmp_path / "trained", "train", config.data_form(), {})
    train(trained, config, build_net(derived, config, kept_weights(plain, derived)), PEOPLE)
    assert same_state(served(tuned), served(trained))
    assert not same_state(served(tuned), served(plain))
    assert same_state(
        load_tensors(tuned.path / "weights.safetensors"), load_tensors(plain.path / "weights.safetensors")
    )
    ours, theirs = tuned.figures(), trained.figures()
    assert {key: ours[key] for key in theirs} == pytest.approx(theirs, nan_ok=True)
    assert {"mixture/AP", "inherited/AP", "recalibrated/AP", "tuned/AP"} <= ours.keys()
    assert ours["recalibrated/AP"] == pytest.approx(plain.figures()["AP"], nan_ok=True)
    assert "training comes next" in (plain.path / "report.html").read_text()
    assert "training comes next" not in (tuned.path / "report.html").read_text()
    assert ours["tuned/AP"] == pytest.approx(ours["AP"], nan_ok=True)


def test_tuning_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ("search.tuning_epochs=2", "train.validate_every=1")
    whole = searched(tmp_path / "whole", *wanted)
    real = discretisation.train

    def killed(run: Run, config: Any, *rest: Any) -> None:
        steps = 0

        def log(row: dict[str, Any], *file: str) -> None:
            nonlocal steps
            steps += row["split"] == "train"
            if steps == 5:  # of 6; a checkpoint stands after 3
                raise KeyboardInterrupt
            Run.log(run, row, *file)

        monkeypatch.setattr(run, "log", log)
        real(run, config, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(discretisation, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "run", *wanted)
    config = small_config("search.architecture_lr=0.3", *FEW, *wanted)
    run = Run.start(tmp_path / "run", "search", config.data_form(), {"name": "people"})
    assert not run.finished
    assert (run.path / "tuning" / "argmax" / "checkpoints" / "step-3").is_dir()
    search(run, config, small_supernet(config), *PEOPLE)
    assert same_state(served(run), served(whole))


def test_another_net_of_the_same_name_is_tuned_anew(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", "search.tuning_epochs=1")
    first, whole = served(run), load_tensors(run.path / "weights.safetensors")
    config = small_config(*FEW, "search.tuning_epochs=1", "search.max_inputs=1")
    derived = derive_again(run, config, PEOPLE)
    assert derived != Run(run.path / "tuning" / "argmax").architecture() or served(run).keys() != first.keys()
    assert same_state(kept_weights(run, derived), whole | load_tensors(run.own_tensors_file))
    assert same_state(kept_weights(run, run.architecture("supernet.json")), whole)


def test_the_command_measures_where_the_data_can_be_opened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    commands.synthesize(count=12, output=tmp_path / "people")
    data = tmp_path / "people" / "annotations.json"
    settings = [*TINY, *FEW, "search.batch_size=2", "train.batch_size=2"]
    commands.search(str(data), recipe="smoke", set=settings, output=tmp_path / "run")
    with caplog.at_level(logging.INFO):
        commands.derive(tmp_path / "run", method="threshold")
    assert "discretisation gap" in caplog.text
    assert {"AP", "inherited/AP", "mixture/AP"} <= Run(tmp_path / "run").figures().keys()
    commands.derive(tmp_path / "run", method="perturbation")
    assert Run(tmp_path / "run").record["derived"] == "perturbation"

    shutil.move(tmp_path / "people", tmp_path / "moved")
    with caplog.at_level(logging.WARNING):
        commands.derive(tmp_path / "run", method="path")
    assert "not measured" in caplog.text
    assert "AP" not in Run(tmp_path / "run").figures()
    for wanted in ({"method": "perturbation"}, {"set": ["search.tuning_epochs=1"]}):
        with pytest.raises(UserError, match="--data DATA"):
            commands.derive(tmp_path / "run", **wanted)  # type: ignore[arg-type]
    moved = tmp_path / "moved" / "annotations.json"
    commands.derive(tmp_path / "run", method="path", data=str(moved))
    assert "AP" in Run(tmp_path / "run").figures()
    moved.write_text(moved.read_text() + " ")
    with pytest.raises(UserError, match="is not what"):
        commands.derive(tmp_path / "run", data=str(moved))


def test_a_run_that_does_not_say_where_its_data_are_derives_without(tmp_path: Path) -> None:
    run = searched(tmp_path / "run")
    commands.derive(run.path, method="path")
    assert "AP" not in Run(run.path).figures()
    with pytest.raises(UserError, match="does not say where its data are"):
        commands.derive(run.path, method="perturbation")
