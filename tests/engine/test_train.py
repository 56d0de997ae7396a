"""Training: from scratch and from inherited weights, what it leaves, and that it learns."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
import timm
import torch
from faults.hostile_pickles import CODE
from small_runs import small_config, small_people, small_supernet

from posefabric.backbone import Backbone
from posefabric.checkpoints import load_tensors, save_tensors
from posefabric.engine import train as train_module
from posefabric.engine.train import build_net, train
from posefabric.errors import UserError
from posefabric.locks import LOCK_FILES
from posefabric.models.net import PoseNet, softmax_mixings
from posefabric.runs import Run
from posefabric.skeletons import COCO17

PEOPLE = small_people(), small_people(6, seed=1)


def test_training_leaves_a_whole_run_folder(tmp_path: Path) -> None:
    config = small_config("train.ema_decay=0.5")
    run = Run.start(tmp_path / "run", "train", config.data_form(), {})
    net = build_net(small_supernet(config), config)
    figures = train(run, config, net, PEOPLE)
    files = {
        "architecture.json",
        "diagnosis.json",
        "evaluation.json",
        "metrics.jsonl",
        "run.json",
        "weights.safetensors",
        *LOCK_FILES,
    }
    assert {path.name for path in run.path.iterdir()} == files | {"report.html", "pictures", "tensorboard"}
    assert run.finished
    assert run.figures() == pytest.approx(figures, nan_ok=True)
    last = run.rows()[-1]
    assert last["split"] == "val"
    measured = {key: value for key, value in last.items() if key not in ("step", "split")}
    assert {key: figures[key] for key in measured} == pytest.approx(measured, nan_ok=True)
    assert figures["AR"] >= 0
    assert set(load_tensors(run.path / "weights.safetensors")) == set(net.state_dict())


def test_training_lowers_its_loss(tmp_path: Path) -> None:
    config = small_config(
        "train.epochs=10", "train.lr=1e-2", "train.schedule=constant", "train.validate_every=10",
        "data.augmentation.rotation_deg=0", "data.augmentation.half_body_probability=0",
    )  # fmt: skip
    run = Run.start(tmp_path / "run", "train", config.data_form(), {})
    train(run, config, build_net(small_supernet(config), config), PEOPLE)
    losses = [row["loss"] for row in run.rows() if row["split"] == "train"]
    assert fmean(losses[-5:]) < 0.95 * fmean(losses[:5])


def test_from_scratch_the_seed_decides_the_weights() -> None:
    nets = [build_net(small_supernet(small_config()), small_config(f"seed={seed}")) for seed in (0, 0, 1)]
    first, again, other = (torch.cat([p.flatten() for p in net.parameters()]) for net in nets)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_inherited_weights_are_taken_and_training_goes_on_from_there(tmp_path: Path) -> None:
    config = small_config("train.lr=1e-12", "train.epochs=1")
    whole = small_supernet(config)
    supernet = PoseNet(whole, softmax_mixings(whole))
    net = build_net(whole, config, supernet.state_dict())
    assert all(torch.equal(tensor, supernet.state_dict()[name]) for name, tensor in net.state_dict().items())
    run = Run.start(tmp_path / "run", "train", config.data_form(), {})
    train(run, config, net, PEOPLE)
    trained = load_tensors(run.path / "weights.safetensors")
    torch.testing.assert_close(trained["backbone.stem.0.weight"], supernet.state_dict()["backbone.stem.0.weight"])


def test_weights_of_another_architecture_are_refused() -> None:
    config = small_config()
    state = PoseNet(small_supernet(config)).state_dict()
    with pytest.raises(UserError) as caught:
        build_net(small_supernet(small_config("model.fabric.base_channels=2")), config, state)
    assert caught.value.code == "bad-weights"


def test_pretrained_weights_are_asked_for_only_where_they_count(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def state(name: str, coarsest: int, given: object = None) -> dict[str, torch.Tensor]:
        asked.append((name, coarsest))
        template = PoseNet(described).backbone.state_dict()
        return {key: torch.full_like(tensor, 0.5) for key, tensor in template.items()}

    monkeypatch.setattr(train_module, "pretrained_state", state)
    wanted, unwanted = (small_config(f"backbone.pretrained={flag}") for flag in ("true", "false"))
    build_net(small_supernet(wanted), wanted)  # a fabric has none
    described = wanted.model.supernet(COCO17, Backbone("mobilenetv2_100"))
    build_net(described, unwanted)
    inherited = build_net(described, wanted, PoseNet(described).state_dict())
    assert asked == []
    net = build_net(described, wanted)
    assert asked == [("mobilenetv2_100", 32)]
    assert all(bool((tensor == 0.5).all()) for tensor in net.backbone.parameters())
    assert not all(bool((tensor == 0.5).all()) for tensor in inherited.backbone.parameters())


def test_the_weights_of_a_backbone_may_lie_in_a_file(tmp_path: Path) -> None:
    """In timm's names; a pickle is refused and not run, and a file of another network is named."""
    network = timm.create_model("mobilenetv2_100")
    with torch.no_grad():
        network.conv_stem.weight.fill_(0.25)
    save_tensors(tmp_path / "timm.safetensors", network.state_dict())
    save_tensors(tmp_path / "other.safetensors", {"conv_stem.weight": torch.zeros(1)})
    (tmp_path / "evil.pth").write_bytes(CODE["reduce"](tmp_path / "canary"))

    def built(file: str) -> torch.Tensor:
        config = small_config("backbone.pretrained=true", f"backbone.weights={tmp_path / file}")
        net = build_net(config.model.supernet(COCO17, Backbone("mobilenetv2_100")), config)
        return next(net.backbone.parameters())

    assert bool((built("timm.safetensors") == 0.25).all())
    for file, code in {
        "none.pth": "missing-file",
        "evil.pth": "bad-weights",
        "other.safetensors": "missing-weights",
    }.items():
        with pytest.raises(UserError) as caught:
            built(file)
        assert caught.value.code == code
    assert not (tmp_path / "canary").exists()
