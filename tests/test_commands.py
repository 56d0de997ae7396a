"""What commands refuse, and what they must not do silently."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from small_runs import TINY, cpu_engine, small_config, small_supernet

from posefabric import commands
from posefabric.config import override
from posefabric.data.synthetic import SyntheticPeople
from posefabric.errors import UserError
from posefabric.recipes import recipe
from posefabric.strategies.gradient import Synchronous
from posefabric.strategies.protocol import StrategySetup


def test_synthesized_people_are_none_of_the_built_in_ones(tmp_path: Path) -> None:
    from posefabric.data import coco

    commands.synthesize(count=2, output=tmp_path / "people")
    made = coco.load(tmp_path / "people" / "annotations.json")
    for seed in range(3):
        built_in = SyntheticPeople(count=2, seed=seed)
        assert not any(np.array_equal(made.image(i), built_in.image(i)) for i in range(2))
    with pytest.raises(UserError, match="not empty"):
        commands.synthesize(count=1, output=tmp_path / "people")


def test_train_takes_the_net_from_its_architecture_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    from posefabric.commands.learning import _with_net

    described = small_supernet(small_config())
    with caplog.at_level(logging.WARNING):
        settings = _with_net(recipe("base").config, described, ["model.parts=8", "train.lr=1"])
    assert "model.parts=8" in caplog.text
    assert "train.lr" not in caplog.text
    assert settings.model.input_hw == described.input_hw


def test_a_lone_json_says_how_it_is_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from posefabric.data.sources import open_people
    from posefabric.settings import DataSettings

    commands.synthesize(count=12, output=tmp_path / "people")
    with caplog.at_level(logging.WARNING):
        open_people(str(tmp_path / "people" / "annotations.json"), "train", DataSettings())
    assert "split by image: train" in caplog.text


def test_boxes_must_fit_the_images(tmp_path: Path) -> None:
    from posefabric.commands.using import _boxes

    file = tmp_path / "boxes.json"
    file.write_text(json.dumps({"a.jpg": [[0, 0, 5, 5]]}))
    assert _boxes(file, [Path("x/a.jpg")]) == {"a.jpg": [(0, 0, 5, 5)]}
    with pytest.raises(UserError, match=r"b\.jpg"):
        _boxes(file, [Path("a.jpg"), Path("b.jpg")])
    file.write_text(json.dumps({"a.jpg": [[5, 5, 0, 0]]}))
    with pytest.raises(UserError, match="x1 < x2"):
        _boxes(file, [Path("a.jpg")])


@pytest.mark.parametrize(("schedule", "last"), [("constant", 1e-3), ("same", 1e-3 * 0.25)])
def test_the_papers_architecture_rate_falls_with_the_weights(schedule: str, last: float) -> None:
    from small_runs import training_stream

    config = small_config(
        "search.schedule=steps", "search.milestones=[0.5]", f"search.architecture_schedule={schedule}"
    )
    strategy = Synchronous(StrategySetup(cpu_engine(), small_supernet(config), config, num_steps=2))
    for step, batch in enumerate(training_stream(config, 2)):
        strategy.step(batch, None, step)
    rate = strategy._weights.optimizer.param_groups[-1]["lr"]
    assert rate == pytest.approx(last)


def test_only_ours_3_keeps_the_architecture_rate() -> None:
    assert recipe("mpii_ours_b").config.search.architecture_schedule == "same"
    assert recipe("coco_ours3").config.search.architecture_schedule == "constant"


def test_smoke_searches_more_than_its_backbone() -> None:
    from posefabric.models.cost import count

    cost = count(recipe("smoke").architecture())
    assert cost.backbone_macs < 0.3 * cost.macs
    assert override(recipe("smoke").config, list(TINY)).data.synthetic_train == 12


@pytest.mark.real_data
def test_importing_another_checkpoint_into_a_run_is_refused(real_data: Path, tmp_path: Path) -> None:
    one, other = (real_data / "reference" / name for name in ("coco_p3_h1", "coco_p5_heatmap"))
    for _ in range(2):
        result = commands.import_weights(one / "weights.safetensors", case=one / "case.json", output=tmp_path / "run")
        assert result.figures["missing"] == 0
    with pytest.raises(UserError, match="another run"):
        commands.import_weights(other / "weights.safetensors", case=other / "case.json", output=tmp_path / "run")


def test_mpiis_file_has_a_row_for_every_annotated_person(tmp_path: Path) -> None:
    """Whoever was not looked at keeps the place of its row, in whatever order the others were found."""
    from posefabric.commands.measuring import _require_mpii, _write_pred_mat
    from posefabric.data.records import truth_of
    from posefabric.evaluation.mpii import read_mpii_predictions
    from posefabric.evaluation.predictions import of_persons
    from posefabric.skeletons import MPII16

    truth = truth_of(SyntheticPeople(MPII16, count=4, image_hw=(64, 48)))
    looked_at = [truth.persons[i] for i in (3, 0, 1)]
    keypoints_xy = np.random.default_rng(0).uniform(0, 50, (3, 16, 2))
    _write_pred_mat(tmp_path / "pred.mat", truth, of_persons(keypoints_xy, looked_at))
    rows = read_mpii_predictions(tmp_path / "pred.mat")
    np.testing.assert_allclose(rows[[3, 0, 1]], keypoints_xy, atol=1e-12)
    assert (rows[2] == 0).all()
    coco = truth_of(SyntheticPeople(count=4, image_hw=(64, 48)))
    for people, detected in ((coco, False), (truth, True)):
        with pytest.raises(UserError, match="MPII's keypoints in annotated boxes"):
            _require_mpii(tmp_path / "pred.mat", people, detected=detected)
    _require_mpii(tmp_path / "pred.mat", truth, detected=False)


def test_evaluate_is_one_way_or_the_other() -> None:
    with pytest.raises(UserError, match="one part of two ways"):
        commands.evaluate(Path("run"), "data", predictions=Path("found.json"))
    with pytest.raises(UserError, match="one part of two ways"):
        commands.evaluate(metric="oks")
    with pytest.raises(UserError, match="without RUN and DATA"):
        commands.evaluate(Path("run"))
