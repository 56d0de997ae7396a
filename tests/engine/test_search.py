"""A search: the files it leaves, the persons it shows to whom, and weights that fit what was derived."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from small_runs import small_config, small_people, small_supernet

from posefabric.checkpoints import load_tensors
from posefabric.config import Config
from posefabric.data.loader import Batch
from posefabric.engine import search as search_module
from posefabric.engine.evaluate import evaluate
from posefabric.engine.search import CANDIDATES, search
from posefabric.errors import UserError
from posefabric.locks import LOCK_FILES
from posefabric.models.net import PoseNet
from posefabric.predictor import inherit, load
from posefabric.runs import Run
from posefabric.strategies import STRATEGIES
from posefabric.strategies.derive import derive
from posefabric.strategies.gradient import FirstOrder
from posefabric.strategies.one_shot import OneShot

FILES = {"architecture.json", "evaluation.json", "metrics.jsonl", "run.json", "weights.safetensors"}
FILES |= {"diagnosis.json", "report.html", "pictures", *LOCK_FILES}


def searched(folder: Path, config: Config) -> Run:
    run = Run.start(folder, "search", config.data_form(), {})
    search(run, config, small_supernet(config), small_people(), small_people(6, seed=1))
    return run


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_search_leaves_a_whole_run_folder(name: str, tmp_path: Path) -> None:
    config = small_config(f"search.strategy={name}", "search.architecture_lr=0.3", "search.ema_decay=0.5")
    run = searched(tmp_path / "run", config)
    files = FILES | {"supernet.json", "tensorboard", "architectures"}
    if issubclass(STRATEGIES[name], OneShot):
        files |= {CANDIDATES}
    elif name != "uniform":
        files |= {"search.jsonl"}
    assert {path.name for path in run.path.iterdir()} == files
    assert run.finished
    mixture = run.architecture("supernet.json")
    assert run.architecture() == derive(mixture, config.search.derive, config.search)
    weights = load_tensors(run.path / "weights.safetensors")
    val = small_people(6, seed=1)
    nets = {"": load(run.path).net}
    for architecture, prefix in ((run.architecture(), "inherited/"), (mixture, "mixture/")):
        nets[prefix] = PoseNet(architecture)
        inherit(nets[prefix], weights)
    for prefix, net in nets.items():
        figures = evaluate(net, val, config)
        assert {key: run.figures()[prefix + key] for key in figures} == pytest.approx(figures, abs=1e-3, nan_ok=True)
    assert nets[""].architecture == run.architecture()


class Watching(FirstOrder):
    """First-order search that notes which persons each batch shows."""

    seen: ClassVar[list[tuple[set[int], set[int]]]] = []

    def step(self, weight_batch: Batch, architecture_batch: Batch | None, step: int) -> dict[str, float]:
        assert architecture_batch is not None
        self.seen.append((set(weight_batch.indices.tolist()), set(architecture_batch.indices.tolist())))
        return super().step(weight_batch, architecture_batch, step)


def test_the_architecture_learns_from_persons_that_the_weights_never_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STRATEGIES, "watching", Watching)
    monkeypatch.setattr(Watching, "seen", [])
    share = "search.architecture_share=0.34"  # 4 of 12 persons
    searched(tmp_path / "run", small_config("search.strategy=watching", share, "search.epochs=4"))
    for_weights, for_architecture = (set().union(*column) for column in zip(*Watching.seen, strict=True))
    assert len(Watching.seen) == 8  # the persons for the weights make two batches of 4, four times over
    assert len(for_architecture) == 4
    assert for_weights.isdisjoint(for_architecture)
    assert len(for_weights) > 4


def test_pretrained_weights_come_before_the_average_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretrain(net: PoseNet, config: Any) -> None:
        for parameter in net.backbone.parameters():
            torch.nn.init.constant_(parameter, 0.25)

    monkeypatch.setattr(search_module, "load_backbone", pretrain)
    run = searched(tmp_path / "run", small_config("search.lr=1e-12", "search.ema_decay=0.9"))
    weights = load_tensors(run.path / "weights.safetensors")
    torch.testing.assert_close(weights["backbone.stem.0.weight"], torch.full((64, 3, 3, 3), 0.25))


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("search.strategy=synk", "unknown strategy 'synk'; did you mean 'sync'"),
        ("search.derive=argmin", "unknown derivation method 'argmin'; did you mean 'argmax'"),
        ("search.batch_size=13", "batch size 13; allowed: at most 12"),
    ],
)
def test_mistakes_are_told_before_the_first_step_and_can_be_corrected(
    assignment: str, named: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=named):
        searched(tmp_path / "run", small_config(assignment))
    assert Run(tmp_path / "run").rows() == []
    assert searched(tmp_path / "run", small_config()).finished


def test_a_share_too_small_for_a_batch_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch size 4; allowed: at most 2"):
        searched(tmp_path / "run", small_config("search.strategy=first-order", "search.architecture_share=0.2"))


def test_a_search_of_widths_leaves_a_narrower_net_that_opens(tmp_path: Path) -> None:
    """The weights are the supernet's: whoever opens the run takes their leading channels."""
    widths = [f"{fabric}.width_multipliers=[0.5,1.0]" for fabric in ("model.fabric", "backbone.fabric")]
    config = small_config(*widths, "search.architecture_lr=0.3")
    run = searched(tmp_path / "run", config)
    net, mixture = load(run.path).net, run.architecture("supernet.json")
    assert set(mixture.width_shares) == {"all", "backbone"}
    assert net.architecture == run.architecture() == derive(mixture, config.search.derive, config.search)
    weights = load_tensors(run.path / "weights.safetensors")
    assert any(tensor.shape != weights[name].shape for name, tensor in net.state_dict().items())
    figures = evaluate(net, small_people(6, seed=1), config)
    assert {key: run.figures()[key] for key in figures} == pytest.approx(figures, abs=1e-3, nan_ok=True)
