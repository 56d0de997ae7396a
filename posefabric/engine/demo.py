"""The whole walk once, on the embedded synthetic people: what `posefabric demo` does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from posefabric.checkpoints import load_tensors
from posefabric.data.sources import SYNTHETIC, describe, open_people
from posefabric.draw import draw_fabrics
from posefabric.engine.conclusion import measure
from posefabric.engine.search import search
from posefabric.engine.train import build_net, train
from posefabric.predictor import load
from posefabric.recipes import recipe
from posefabric.reporting import write_report
from posefabric.runs import Run

logger = logging.getLogger(__name__)


def run_demo(output: Path) -> tuple[dict[str, Any], Path]:
    """Search, derive, train, evaluate on unseen people, predict, report. Gives the figures and the report's path."""
    chosen = recipe("demo")
    config, data = chosen.config, describe(SYNTHETIC)
    people = {split: open_people(SYNTHETIC, split, config.data) for split in ("train", "val", "test")}
    logger.info("1 of 4: searching one fabric per body part")
    found = Run.start(output / "search", "search", config.data_form(), data)
    if not found.finished:
        search(found, config, chosen.architecture(), people["train"], people["val"])
    logger.info("2 of 4: training the derived net from the weights of the search")
    trained = Run.start(output / "train", "train", config.data_form(), data)
    if not trained.finished:
        net = build_net(found.architecture(), config, load_tensors(found.path / "weights.safetensors"))
        train(trained, config, net, (people["train"], people["val"]))
    logger.info("3 of 4: evaluating on people it has never seen")
    measured = measure(trained, load(trained.path).net, people["test"], config, calibrate=False)
    logger.info("4 of 4: drawing and reporting")
    draw_fabrics(found.architecture(), output / "fabrics.png")
    return measured, write_report([found.path, trained.path], output / "report.html")
