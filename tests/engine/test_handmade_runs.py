"""Hand-made nets go everywhere that fabrics go: trained, resumed, opened, measured, drawn, reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import TINY, small_config, small_people

from posefabric import commands, documents
from posefabric.checkpoints import load_tensors
from posefabric.config import Config
from posefabric.engine import keeping
from posefabric.engine.train import build_net, train
from posefabric.errors import UserError
from posefabric.handmade import HEADS, HandMade, read_description
from posefabric.models.cost import count
from posefabric.models.net import HandMadeNet
from posefabric.predictor import load
from posefabric.runs import Run
from posefabric.skeletons import COCO17

PEOPLE = small_people(), small_people(6, seed=1)


def slim(head: str, config: Config) -> HandMade:
    whole = config.model.handmade(head, COCO17, config.backbone.describe())
    return replace(whole, widths={part: (4,) * len(widths) for part, widths in whole.widths.items()})


@pytest.mark.parametrize("head", HEADS)
def test_a_trained_net_is_opened_again(head: str, tmp_path: Path) -> None:
    config = small_config("train.ema_decay=0.5", "evaluation.flip_test=true")
    run = Run.start(tmp_path / "run", "train", config.data_form(), {})
    net = build_net(slim(head, config), config)
    figures = train(run, config, net, PEOPLE)
    cost = count(slim(head, config))
    assert (figures["parameters"], figures["macs"]) == (cost.parameters, cost.macs)
    opened = load(run.path)
    assert isinstance(opened.net, HandMadeNet)
    assert opened.net.architecture == slim(head, config)
    assert set(load_tensors(run.path / "weights.safetensors")) == set(net.state_dict())
    poses = opened.predict(PEOPLE[1].image(0))
    assert poses.xy.shape == (1, 17, 2)
    page = (run.path / "report.html").read_text()
    assert "made by hand" in page
    assert HEADS[head].source in page


def test_resumed_is_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config("train.epochs=4")

    def run(name: str) -> Path:
        opened = Run.start(tmp_path / name, "train", config.data_form(), {})
        train(opened, config, build_net(slim("deconvolution", config), config), PEOPLE)
        return opened.path

    whole = run("whole")

    def stop(*arguments: object) -> None:
        saved(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    saved = keeping.save_checkpoint
    monkeypatch.setattr(keeping, "save_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        run("cut")
    monkeypatch.setattr(keeping, "save_checkpoint", saved)
    cut = run("cut")
    for file in ("weights.safetensors", "architecture.json", "metrics.jsonl"):
        assert (cut / file).read_bytes() == (whole / file).read_bytes()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command line's `train` from the name of a head."""
    folder = tmp_path_factory.mktemp("handmade") / "run"
    commands.train("synthetic", Path("deconvolution"), recipe="smoke", set=[*TINY, "model.vector_dim=2"], output=folder)
    return folder


def test_a_head_is_trained_by_its_name(trained: Path) -> None:
    described = read_description(trained)
    assert isinstance(described, HandMade)
    assert described.widths == {"all": HEADS["deconvolution"].widths}
    assert described.vector_dim == 2
    assert described.input_hw == small_config().model.input_hw
    assert Run(trained).finished


def test_its_file_is_trained_too_and_a_file_of_that_name_comes_first(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = small_config()
    Path("deconvolution").write_text(documents.to_json(slim("hourglass", config)))
    commands.train("synthetic", Path("deconvolution"), recipe="smoke", set=list(TINY), output=Path("run"))
    assert read_description("run") == slim("hourglass", config)
    with pytest.raises(UserError, match="does not exist") as caught:
        commands.train("synthetic", Path("hourglas"), recipe="smoke", set=list(TINY))
    assert caught.value.code == "missing-file"


def test_every_command_takes_the_run(trained: Path, tmp_path: Path) -> None:
    commands.synthesize(count=2, output=tmp_path / "people")
    measured = commands.evaluate(trained, str(tmp_path / "people" / "annotations.json"), split="train", output=tmp_path)
    assert 0 <= measured.figures["AR"] <= 1
    found = commands.predict(trained, [tmp_path / "people" / "images"], output=tmp_path / "found")
    assert found.figures["poses"] == 2
    assert commands.show(trained, output=tmp_path / "net.png").output == tmp_path / "net.png"
    profiled = commands.profile(str(trained)).figures
    assert profiled["macs"] == Run(trained).figures()["macs"]
    assert profiled["parts"]["all"]["cells"] == {}
    commands.report([trained, trained], output=tmp_path / "report.html")
    assert "The same architecture as" in (tmp_path / "report.html").read_text()
    assert commands.doctor(trained).exit_code == 0
    with pytest.raises(UserError):
        commands.derive(trained)
