"""From a mixture to a measured net: norms that fit it, and the gap told."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
import torch
from small_runs import lively_net, same_state, small_config, small_people, small_supernet, training_stream
from torch import nn

from posefabric.checkpoints import load_tensors
from posefabric.commands import derive
from posefabric.engine.inheritance import recalibrate
from posefabric.engine.search import search
from posefabric.models.cost import count
from posefabric.models.net import PoseNet
from posefabric.predictor import load
from posefabric.runs import Run


def searched(folder: Path, *assignments: str) -> Run:
    config = small_config("search.architecture_lr=0.3", *assignments)
    run = Run.start(folder, "search", config.data_form(), {})
    search(run, config, small_supernet(config), small_people(), small_people(6, seed=1))
    return run


def norms(net: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}


def test_recalibrated_norms_hold_the_mean_of_what_the_batches_show() -> None:
    """Against the statistics that each norm computes of each batch by itself."""
    config = small_config()
    net, batches = lively_net(config), training_stream(config, 3)
    single = []
    for batch in batches:
        alone = copy.deepcopy(net)
        recalibrate(alone, [batch])
        single.append({name: norm.running_mean for name, norm in norms(alone).items()})
    before = {name: p.clone() for name, p in net.named_parameters()}
    found = recalibrate(net, batches)
    for name, norm in norms(net).items():
        mean = torch.stack([s[name] for s in single if s[name] is not None]).mean(dim=0)
        torch.testing.assert_close(found[f"{name}.running_mean"], mean)
        assert not norm.training
    assert all(torch.equal(before[name], p) for name, p in net.named_parameters())
    assert found.keys() == {f"{name}.{key}" for name, norm in norms(net).items() for key, _ in norm.named_buffers()}


def test_recalibration_is_repeatable_and_keeps_momenta() -> None:
    config = small_config()
    net, batches = lively_net(config), training_stream(config, 2)
    momenta = {name: norm.momentum for name, norm in norms(net).items()}
    once = {name: value.clone() for name, value in recalibrate(net, batches).items()}
    again = recalibrate(net, batches)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert {name: norm.momentum for name, norm in norms(net).items()} == momenta


def test_without_batches_nothing_changes() -> None:
    net = lively_net(small_config())
    before = copy.deepcopy(net.state_dict())
    assert recalibrate(net, []) == {}
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_search_tells_and_records_the_gap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run = searched(tmp_path / "run")
    figures = run.figures()
    for stage in ("mixture/", "inherited/", ""):
        assert stage + "AP" in figures
    assert "discretisation gap" in caplog.text
    assert all(stage in caplog.text for stage in ("mixture", "inherited", "recalibrated"))


def test_switched_off_the_net_is_the_inherited_one(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", "search.recalibration_batches=0")
    assert not run.own_tensors_file.exists()
    figures = run.figures()
    assert figures["AP"] == figures["inherited/AP"]


@pytest.mark.parametrize("method", ["argmax", "path", "threshold"])
def test_a_search_meets_its_budget(method: str, tmp_path: Path) -> None:
    run = searched(tmp_path / "run", "search.budget=97%", f"search.derive={method}")
    budget = 0.97 * count(run.architecture("supernet.json")).macs
    assert 0.9 * budget <= run.figures()["macs"] <= budget
    assert run.architecture(f"architectures/{method}-97%.json") == run.architecture()
    rows = [row for row in run.rows() if row["split"] == "train"]
    assert all("expected_macs" in row for row in rows)


def test_deriving_anew_keeps_norms_for_their_own_net_alone(tmp_path: Path) -> None:
    run = searched(tmp_path / "run")
    fitted = load_tensors(run.own_tensors_file)
    state = load_tensors(run.path / "weights.safetensors")
    name = next(name for name in fitted if name.endswith("running_mean") and not torch.equal(fitted[name], state[name]))

    def served() -> torch.Tensor | None:
        return load(run.path).net.state_dict().get(name)

    assert same(served(), fitted[name])
    first = run.architecture()
    derive(run.path, method="threshold")
    assert same(served(), state[name])
    derive(run.path, method="argmax")
    assert same(served(), fitted[name])
    derive(run.path, method="argmax", set=["search.max_inputs=1", "search.threshold=0.5"])
    assert Run(run.path).architecture() != first
    assert not run.own_tensors_file.is_file()


def test_deriving_within_a_budget_says_what_it_is_in_macs(tmp_path: Path) -> None:
    run = searched(tmp_path / "run")
    whole = count(run.architecture("supernet.json")).macs
    result = derive(run.path, method="path", budget="98%")
    assert result.figures["budget"] == int(0.98 * whole)
    assert 0.9 * result.figures["budget"] <= result.figures["macs"] <= result.figures["budget"]
    assert (run.path / "architectures" / "path-98%.json").is_file()
    assert "budget" not in derive(run.path, method="path").figures
    assert PoseNet(Run(run.path).architecture())


def same(ours: torch.Tensor | None, theirs: torch.Tensor) -> bool:
    return ours is not None and torch.equal(ours, theirs)


def test_a_widened_net_inherits_what_there_is_and_is_kept_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = count(small_supernet(small_config())).macs
    with caplog.at_level(logging.WARNING):
        run = searched(tmp_path / "run", f"search.budget={3 * whole}")
    assert "further channels are untrained" in caplog.text
    untrained, net, state = run.record["untrained"], load(run.path).net, load_tensors(run.path / "weights.safetensors")
    assert untrained
    own = net.state_dict()
    for name in untrained:
        if name in state:
            assert own[name].shape > state[name].shape
            if "running" not in name:
                leading = tuple(slice(size) for size in state[name].shape)
                assert torch.equal(own[name][leading], state[name])
    assert same_state(load(run.path).net.state_dict(), own)
    kept = load_tensors(run.own_tensors_file)
    assert all(torch.equal(kept[name], own[name]) for name in untrained)
    derive(run.path, budget=str(4 * whole))
    assert load(run.path).net.architecture == Run(run.path).architecture()
