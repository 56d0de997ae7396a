"""The whole walk once, on the embedded synthetic people: what `posefabric demo` does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from posefabric.checkpoints import load_tensors
from posefabric.config import Config
from posefabric.data.sources import SYNTHETIC, describe, open_people
from posefabric.draw import draw_fabrics
from posefabric.engine.evaluate import figures, predict_people
from posefabric.engine.pictures import save_pictures
from posefabric.engine.search import search
from posefabric.engine.train import build_net, train
from posefabric.models.cost import count
from posefabric.predictor import load
from posefabric.recipes import recipe
from posefabric.reporting import write_report
from posefabric.runs import Run

logger = logging.getLogger(__name__)


def run_demo(output: Path) -> tuple[dict[str, Any], Path]:
    """Search, derive, train, evaluate on unseen people, predict, report. Gives the figures and the report's path."""
    config = recipe("demo").config
    people = {split: open_people(SYNTHETIC, split, config.data) for split in ("train", "val", "test")}
    data = describe(SYNTHETIC, config.data)
    logger.info("1 of 4: searching one fabric per body part")
    found = Run.start(output / "search", "search", config.data_form(), data)
    if not found.finished:
        supernet = config.model.supernet(people["train"].skeleton, config.backbone.describe())
        search(found, config, supernet, people["train"], people["val"])
    logger.info("2 of 4: training the derived net from the weights of the search")
    trained = Run.start(output / "train", "train", config.data_form(), data)
    if not trained.finished:
        weights = load_tensors(found.path / "weights.safetensors")
        net = build_net(found.architecture(), config, weights)
        train(trained, config, net, (people["train"], people["val"]))
    logger.info("3 of 4: evaluating on people it has never seen")
    measured = _test(trained, people["test"], config)
    logger.info("4 of 4: drawing and reporting")
    (output / "pictures").mkdir(exist_ok=True)
    draw_fabrics(found.architecture(), output / "pictures" / "fabrics.png")
    return measured, write_report([found.path, trained.path], output / "report.html")


def _test(run: Run, people: Any, config: Config) -> dict[str, Any]:
    predictor = load(run.path)
    predictions = predict_people(predictor.net, people, config)
    persons = [people.record(index) for index in range(len(people))]
    cost = count(predictor.net.architecture)
    measured = figures(persons, predictions, people.skeleton) | {"parameters": cost.parameters, "macs": cost.macs}
    run.save_figures(measured)
    save_pictures(run, people, predictions, config)
    return measured
