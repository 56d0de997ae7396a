"""Training on files of which some are damaged or missing: gone on with, counted and told, or refused."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import small_runs
from small_runs import small_config, small_supernet

from posefabric import commands
from posefabric.config import Config
from posefabric.data.images import read_image, write_image
from posefabric.data.records import People
from posefabric.data.sources import open_people, require_images
from posefabric.engine import search as search_module
from posefabric.engine import train as train_module
from posefabric.engine.evaluate import evaluate
from posefabric.errors import UserError
from posefabric.models.net import PoseNet
from posefabric.optimization import WeightLearner
from posefabric.predictor import Predictor
from posefabric.runs import Run

DAMAGED = ("000001.png", "000005.png")


class Crash(Exception):  # noqa: N818  what happens to a run, not an error of ours
    """The machine goes down."""


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset YAML of 12 persons to train on, two of whose files are cut in half, and 4 to validate on."""
    for split, count in (("train", 12), ("val", 4)):
        commands.synthesize(count=count, seed=len(split), output=tmp_path / split)
    for name in DAMAGED:
        file = tmp_path / "train" / "images" / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    lines = [f"{split}: {split}/annotations.json" for split in ("train", "val")]
    images = "images: {train: train/images, val: val/images}"
    (tmp_path / "dataset.yaml").write_text("\n".join([images, *lines]))
    return tmp_path / "dataset.yaml"


def settings(*more: str) -> Config:
    return small_config("train.epochs=3", "search.epochs=3", "data.in_memory=false", *more)


def opened(dataset: Path, config: Config) -> tuple[People, People]:
    train_people, val_people = (open_people(str(dataset), split, config.data) for split in ("train", "val"))
    return train_people, val_people


def carry_out(command: str, folder: Path, dataset: Path, *more: str) -> Run:
    """Start a run, or resume it."""
    config = settings(*more)
    people = opened(dataset, config)
    return small_runs.carry_out(command, Run.start(folder, command, config.data_form(), {}), config, people)


@pytest.mark.parametrize("command", ["train", "search"])
@pytest.mark.parametrize("in_memory", ["false", "true"])
def test_damaged_images_are_skipped_counted_and_told_once(
    command: str, in_memory: str, dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run = carry_out(command, tmp_path / "run", dataset, f"data.in_memory={in_memory}")
    paths = [str(dataset.parent / "train" / "images" / name) for name in DAMAGED]
    assert json.loads((run.path / "run.json").read_text())["skipped_images"] == paths
    for path in paths:
        assert sum(f"{path} is damaged" in record.message for record in caplog.records) == 1
    assert "2 damaged images" in (run.path / "report.html").read_text()


def test_whole_images_leave_no_note(dataset: Path, tmp_path: Path) -> None:
    (dataset.parent / "whole.yaml").write_text(dataset.read_text().replace("train: train", "train: val"))
    run = carry_out("train", tmp_path / "run", dataset.parent / "whole.yaml")
    assert "skipped_images" not in run.record
    assert "Skipped images" not in (run.path / "report.html").read_text()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_run_skips_as_an_uninterrupted_one(
    num_workers: int, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = carry_out("train", tmp_path / "whole", dataset)
    honest = WeightLearner.step

    def failing(learner: WeightLearner, batch: Any, step: int) -> dict[str, float]:
        if step == 4:
            raise Crash
        return honest(learner, batch, step)

    with monkeypatch.context() as patched:
        patched.setattr(WeightLearner, "step", failing)
        with pytest.raises(Crash):
            carry_out("train", tmp_path / "cut", dataset, f"data.num_workers={num_workers}")
    resumed = carry_out("train", tmp_path / "cut", dataset, f"data.num_workers={num_workers}")
    assert resumed.record["skipped_images"] == whole.record["skipped_images"]
    for name in ("weights.safetensors", "metrics.jsonl", "evaluation.json"):
        assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes(), name


@pytest.mark.parametrize("num_workers", [0, 1])
def test_nobody_is_skipped_in_validation(num_workers: int, dataset: Path, tmp_path: Path) -> None:
    file = dataset.parent / "val" / "images" / "000002.png"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"000002\.png") as caught:
        carry_out("train", tmp_path / "run", dataset, f"data.num_workers={num_workers}")
    assert caught.value.code == "bad-image"


@pytest.mark.parametrize("in_memory", ["false", "true"])
def test_missing_files_are_counted_before_the_first_step(
    in_memory: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (train_module, search_module):
        monkeypatch.setattr(module, "run_steps", lambda *_: pytest.fail("a step was made"))
    folder = dataset.parent / "val" / "images"
    for name in ("000000.png", "000003.png"):
        (folder / name).unlink()
    config = settings(f"data.in_memory={in_memory}")
    net = PoseNet(small_supernet(config))
    for attempt in (
        lambda: carry_out("train", tmp_path / "a", dataset),
        lambda: carry_out("search", tmp_path / "b", dataset),
        lambda: evaluate(net, opened(dataset, config)[1], config),
    ):
        with pytest.raises(
            UserError, match=r"2 of (4|16) image files are missing: .*images has no 000000\.png"
        ) as caught:
            attempt()
        assert caught.value.code == "missing-file"
        assert "--images" in caught.value.todo
        assert str(folder) in str(caught.value)


def test_the_folder_of_the_images_may_be_missing_or_no_folder(dataset: Path) -> None:
    config = settings()
    people = opened(dataset, config)[1]
    folder = dataset.parent / "val" / "images"
    require_images(people)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(UserError, match="4 of 4 image files"):
        require_images(people)
    folder.write_text("a file")
    with pytest.raises(UserError, match="4 of 4 image files"):
        require_images(people)
    folder.unlink()
    os.symlink(folder.with_name("elsewhere"), folder)
    require_images(people)


def test_a_lacking_end_marker_is_allowed_by_the_configuration(dataset: Path) -> None:
    folder = dataset.parent / "val"
    annotations = folder / "annotations.json"
    annotations.write_text(annotations.read_text().replace(".png", ".jpg"))
    for file in (folder / "images").iterdir():
        write_image(file.with_suffix(".jpg"), read_image(file))
    cut = folder / "images" / "000001.jpg"
    cut.write_bytes(cut.read_bytes()[:-2])
    strict, lenient = (settings(f"data.allow_truncated={allowed}") for allowed in ("false", "true"))
    with pytest.raises(UserError, match=r"data\.allow_truncated=true"):
        opened(dataset, strict)[1].image(1)
    assert opened(dataset, lenient)[1].image(1).shape == opened(dataset, strict)[1].image(0).shape
    net = PoseNet(small_supernet(strict))
    with pytest.raises(UserError, match=r"000001\.jpg"):
        Predictor(net, strict).predict(cut)
    assert len(Predictor(net, lenient).predict(cut)) == 1
